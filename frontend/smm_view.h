// Memory as a CPU in system management mode sees it: the ordinary map, with RAM at 0xA0000..0xBFFFF instead of the VGA
// hole, whether SMRAM is open or closed for everybody else (82441FX data sheet, SMRAM register).
#ifndef DOPPEL_FRONTEND_SMM_VIEW_H
#define DOPPEL_FRONTEND_SMM_VIEW_H

#include "mmu/memory.h"

#define SMM_VIEW_RANGES 256

struct smm_view {
    struct address_space space;
    struct address_space *ordinary;
    struct address_space_listener listener;
    struct range *mirror[SMM_VIEW_RANGES]; // of ordinary->ranges, by index
    size_t count;
};

/// Follows `ordinary` from now on. `smram_offset`: where in the memory file the RAM of 0xA0000 is.
bool smm_view_create(struct smm_view *view, struct address_space *ordinary, uint64_t smram_offset, struct error *error);
void smm_view_destroy(struct smm_view *view);

#endif
