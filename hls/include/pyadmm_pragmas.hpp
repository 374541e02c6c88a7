// The loop pragmas, in the one form that each HLS compiler takes.
//
// For AMD's tools UNROLL is bare: a factor of 1 would mean "leave the loop", which the loop over a
// stage's groups must never be. For Bambu, which wants PIPELINE at function scope, both are left out.
#ifndef PYADMM_PRAGMAS_HPP
#define PYADMM_PRAGMAS_HPP

#define PYADMM_PRAGMA_TEXT(text) _Pragma(#text)

#if defined(__BAMBU__)
#define PYADMM_PIPELINE(ii)
#define PYADMM_UNROLL(count)
#elif defined(__VITIS_HLS__) || defined(__VIVADO_HLS__)
#define PYADMM_PIPELINE(ii) PYADMM_PRAGMA_TEXT(HLS PIPELINE II = ii)
#define PYADMM_UNROLL(count) PYADMM_PRAGMA_TEXT(HLS UNROLL)
#else
#define PYADMM_PIPELINE(ii) PYADMM_PRAGMA_TEXT(HLS PIPELINE II = ii)
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
