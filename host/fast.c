/* One inference at C speed: the register accesses of host/accelerator.py without the interpreter.
 *
 * Compiled on the board by host/fast.py. The registers are mapped device memory, the buffers
 * contiguous memory that the caches do not hold; the barriers order the two.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { MM2S = 0x00, S2MM = 0x30 };
enum { DMA_CONTROL = 0x00, DMA_STATUS = 0x04, DMA_ADDRESS = 0x18, DMA_ADDRESS_HIGH = 0x1c,
       DMA_LENGTH = 0x28 };
enum { DMA_RUN = 0x1, DMA_HALTED = 0x1, DMA_IDLE = 0x2, DMA_ERRORS = 0x770, DMA_IRQS = 0x7000 };
enum { CORE_START = 0x1, CORE_DONE = 0x2, CORE_IDLE = 0x4 };
enum { POLLS_PER_CLOCK_CHECK = 64 };

struct pyadmm_port {
    volatile uint32_t *core, *dma;
    uint8_t *send, *receive;
    uint64_t send_address, receive_address;
    uint32_t send_bytes, receive_bytes, max_bytes;
    uint32_t ctrl, mode, count, infer;
    uint64_t timeout_ns;
};

enum pyadmm_result { PYADMM_OK = 0, PYADMM_SEND_ERROR, PYADMM_RECEIVE_ERROR, PYADMM_SEND_LATE,
                     PYADMM_RECEIVE_LATE, PYADMM_CORE_LATE, PYADMM_SHORT };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static volatile uint32_t *dma_register(const struct pyadmm_port *p, uint32_t channel, uint32_t name)
{
    return p->dma + (channel + name) / 4;
}

/* Whether (*reg & mask) becomes `wanted` before `end`, or any of `stop` is set; last value in
 * *seen. */
static int poll(volatile uint32_t *reg, uint32_t mask, uint32_t wanted, uint32_t stop, uint64_t end,
                uint32_t *seen)
{
    for (uint32_t polls = 1;; polls++) {
        *seen = *reg;
        if (*seen & stop)
            return 0;
        if ((*seen & mask) == wanted)
            return 1;
        if (polls % POLLS_PER_CLOCK_CHECK == 0 && now_ns() > end)
            return 0;
    }
}

static int dma_start(const struct pyadmm_port *p, uint32_t channel, uint64_t address,
                     uint32_t bytes, uint64_t end, uint32_t *seen)
{
    *dma_register(p, channel, DMA_CONTROL) = DMA_RUN;
    if (!poll(dma_register(p, channel, DMA_STATUS), DMA_HALTED, 0, 0, end, seen))
        return 0;
    *dma_register(p, channel, DMA_STATUS) = DMA_IRQS;
    *dma_register(p, channel, DMA_ADDRESS) = (uint32_t)address;
    *dma_register(p, channel, DMA_ADDRESS_HIGH) = (uint32_t)(address >> 32);
    __sync_synchronize();
    *dma_register(p, channel, DMA_LENGTH) = bytes;
    return 1;
}

static int send_chunk(const struct pyadmm_port *p, uint32_t first, uint64_t end, uint32_t *seen)
{
    uint32_t left = p->send_bytes - first;
    uint32_t bytes = left < p->max_bytes ? left : p->max_bytes;
    return dma_start(p, MM2S, p->send_address + first, bytes, end, seen) ? PYADMM_OK
                                                                         : PYADMM_SEND_LATE;
}

static int wait_sent(const struct pyadmm_port *p, uint64_t end, uint32_t *seen)
{
    if (poll(dma_register(p, MM2S, DMA_STATUS), DMA_IDLE, DMA_IDLE, DMA_ERRORS, end, seen))
        return PYADMM_OK;
    return *seen & DMA_ERRORS ? PYADMM_SEND_ERROR : PYADMM_SEND_LATE;
}

/* The run itself, from arming the DMA to the last byte. *seen gets the last status read. The first
 * chunk is offered before the core starts, so that its cycle counter counts no register access. */
static int run(const struct pyadmm_port *p, uint64_t end, uint32_t *seen)
{
    p->core[p->mode / 4] = p->infer;
    p->core[p->count / 4] = 1;
    if (!dma_start(p, S2MM, p->receive_address, p->receive_bytes, end, seen))
        return PYADMM_RECEIVE_LATE;
    int result = send_chunk(p, 0, end, seen);
    if (result != PYADMM_OK)
        return result;
    p->core[p->ctrl / 4] = CORE_START;
    for (uint32_t first = p->max_bytes;; first += p->max_bytes) {
        result = wait_sent(p, end, seen);
        if (result == PYADMM_OK && first < p->send_bytes)
            result = send_chunk(p, first, end, seen);
        else
            break;
    }
    if (result != PYADMM_OK)
        return result;
    if (!poll(dma_register(p, S2MM, DMA_STATUS), DMA_IDLE, DMA_IDLE, DMA_ERRORS, end, seen))
        return *seen & DMA_ERRORS ? PYADMM_RECEIVE_ERROR : PYADMM_RECEIVE_LATE;
    __sync_synchronize();
    *seen = *dma_register(p, S2MM, DMA_LENGTH);
    return *seen == p->receive_bytes ? PYADMM_OK : PYADMM_SHORT;
}

/* Classify one image of `bytes` bytes; ns[0] gets the nanoseconds of the run without the copies,
 * ns[1] those with them. */
int pyadmm_infer(const struct pyadmm_port *p, const uint8_t *image, uint32_t bytes, int32_t *logits,
                 uint64_t ns[2], uint32_t *seen)
{
    uint64_t begin = now_ns();
    memcpy(p->send, image, bytes);
    __sync_synchronize();
    uint64_t armed = now_ns();
    int result = run(p, armed + p->timeout_ns, seen);
    uint64_t received = now_ns();
    if (result != PYADMM_OK)
        return result;
    memcpy(logits, p->receive, p->receive_bytes);
    ns[1] = now_ns() - begin;
    ns[0] = received - armed;
    /* ap_done clears on read in HLS designs: an idle core counts as done. */
    if (!poll(p->core + p->ctrl / 4, CORE_IDLE | CORE_START, CORE_IDLE, CORE_DONE,
              armed + p->timeout_ns, seen) && !(*seen & CORE_DONE))
        return PYADMM_CORE_LATE;
    return PYADMM_OK;
}
