// See smm_view.h. Each range of the ordinary map has a twin here, which is brought up to date when the map changes.
#include "frontend/smm_view.h"

#define SMRAM_START 0xa0000
#define SMRAM_SIZE 0x20000
#define SMRAM_PRIORITY 1000

static void follow(void *opaque)
{
    struct smm_view *view = opaque;
    const struct address_space *ordinary = view->ordinary;
    address_space_begin(&view->space);
    for (size_t i = 0; i < ordinary->range_count && i < SMM_VIEW_RANGES; i++) {
        const struct range *range = ordinary->ranges[i];
        if (i == view->count)
            view->mirror[view->count++] = address_space_map_device(&view->space, range->name, range->start, range->size,
                                                                   range->priority, range->ops, range->opaque, NULL);
        if (!view->mirror[i])
            continue;
        address_space_set_backing(&view->space, view->mirror[i], range->offset, range->ops, range->opaque);
        address_space_update(&view->space, view->mirror[i], range->start, range->enabled, range->kind);
    }
    address_space_commit(&view->space);
}

bool smm_view_create(struct smm_view *view, struct address_space *ordinary, uint64_t smram_offset, struct error *error)
{
    *view = (struct smm_view){.ordinary = ordinary, .listener = {.map_changed = follow, .opaque = view}};
    address_space_init(&view->space, "memory-smm", ordinary->memory, ordinary->limit, ordinary->log);
    if (!address_space_map_memory(&view->space, "smram", SMRAM_START, SMRAM_SIZE, SMRAM_PRIORITY,
                                  smram_offset + SMRAM_START, false, error)) {
        address_space_destroy(&view->space);
        return false;
    }
    follow(view);
    address_space_listen(ordinary, &view->listener);
    return true;
}

void smm_view_destroy(struct smm_view *view)
{
    address_space_destroy(&view->space);
}
