// What the files of the translating engine share that know no host: translate.c drives, superblock.c chooses.
#ifndef DOPPEL_TRANSLATE_DRIVER_H
#define DOPPEL_TRANSLATE_DRIVER_H

#include "translate/backend.h"
#include "translate/translate.h"

/// Whether host code for the block would do anything at all.
bool translate_worth(const struct backend *backend, const struct block *block);
/// Host code for the uops of the part at work. False: the interpreter goes on somewhere in it.
bool translate_uops(struct translation *t);
/// ... for those up to t->join.index again.
void translate_until_join(struct translation *t);
/// Host code for t->head and the blocks that follow it likely, but for what is out of line.
void superblock_translate(struct translation *t, const struct translate_hooks *hooks,
                          struct translate_statistics *statistics);

#endif
