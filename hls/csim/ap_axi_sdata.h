// Stand-in for the vendor's ap_axi_sdata.h, for simulation with g++ only: a stream word without
// user, id and dest signals.
#ifndef PYADMM_CSIM_AP_AXI_SDATA_H
#define PYADMM_CSIM_AP_AXI_SDATA_H

#include <ap_int.h>

template <int DATA, int USER, int ID, int DEST>
struct ap_axiu {
    static_assert(DATA % 8 == 0 && USER == 0 && ID == 0 && DEST == 0, "data, keep, strb, last");
    ap_uint<DATA> data;
    ap_uint<DATA / 8> keep;
    ap_uint<DATA / 8> strb;
    ap_uint<1> last;
};

#endif
