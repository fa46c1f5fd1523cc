// Which backend the host has that doppel is built for; the only place that asks.
#include "translate/backend.h"

const struct backend *backend_host(void)
{
#ifdef __x86_64__
    return &backend_x86_64;
#else
    return NULL;
#endif
}
