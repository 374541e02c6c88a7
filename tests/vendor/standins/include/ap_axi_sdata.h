// Stands in for the vendor's header, with just what the self-test design uses.
#pragma once

template <int DATA, int USER, int ID, int DEST>
struct ap_axiu {
    int data, keep, strb, user, last, id, dest;
};
