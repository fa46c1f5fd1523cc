// Uops as blocks keep them: in a quarter of the memory that they take while somebody reads them. Most of a uop's fields
// are zero, and most of its numbers are small.
#ifndef DOPPEL_CPU_UOP_PACK_H
#define DOPPEL_CPU_UOP_PACK_H

#include <stddef.h>

#include "cpu/uop.h"

/// What a uop takes at most.
#define UOP_PACKED_MAX 26u
/// Readers look at so many bytes behind what is packed, at most.
#define UOP_PACKED_BEHIND 16u

/// Packs `count` uops that interp_prepare saw. Returns how many bytes they take, behind which there is room for
/// UOP_PACKED_BEHIND more.
size_t uop_pack(const struct uop *uops, unsigned count, uint8_t *to);
/// ... and back. Returns what follows them.
const uint8_t *uop_unpack(const uint8_t *from, struct uop *uops, unsigned count);

#endif
