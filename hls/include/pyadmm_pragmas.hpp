// The one place that spells pragmas which depend on a compile-time constant.
//
// A plain `#pragma` cannot take a macro's argument, `_Pragma` can. Other HLS compilers want UNROLL with
// its factor; for the vendor's a factor of 1 would mean "leave the loop", which a process array of one
// group must not be, so it gets the bare form.
#ifndef PYADMM_PRAGMAS_HPP
#define PYADMM_PRAGMAS_HPP

#define PYADMM_PRAGMA_TEXT(text) _Pragma(#text)
#if defined(__VITIS_HLS__) || defined(__VIVADO_HLS__)
#define PYADMM_UNROLL(count) PYADMM_PRAGMA_TEXT(HLS UNROLL)
#else
#define PYADMM_UNROLL(count) PYADMM_PRAGMA_TEXT(HLS UNROLL factor = count)
#endif

// A frame lives on the stack of a g++ simulation unless it is static; hardware makes it a
// ping-pong memory between two processes, which must not be static.
#ifdef PYADMM_CSIM
#define PYADMM_FRAME_STORAGE static
#include "pyadmm_trace.hpp"
#else
#define PYADMM_FRAME_STORAGE
#define PYADMM_TRACE(shape, frame)
#endif

#endif
