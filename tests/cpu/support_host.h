// The host's processor in the place of support_user's guest: the same addresses, pages, selectors. x86-64 Linux only.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_HOST_H
#define DOPPEL_TESTS_CPU_SUPPORT_HOST_H

#include "support_user.h"

struct host_context;

struct host_runner {
    uint8_t *code, *data;
    struct host_context *context;
    uint64_t fs_base; // must not change: it is the C library's
    bool code32;      // 32-bit code can run, and GS is as in the guest
};

/// Maps code and data.
void host_open(struct host_runner *host);
/// Takes over the signals that faults raise; in the test itself, because cmocka takes them before each.
void host_catch_signals(void);
void host_close(struct host_runner *host);
void host_put_code(struct host_runner *host, bool code64, const uint8_t *bytes, unsigned length);
/// Code anywhere in the data pages instead.
void host_put_code_at(struct host_runner *host, uint64_t linear, const uint8_t *bytes, unsigned length);
void host_run(struct host_runner *host, bool code64, const struct user_state *before, struct user_state *after);
/// Does the host have this feature (enum cpu_feature)?
bool host_has(unsigned feature);
/// The process has a page where the guest has none (libraries, a sanitizer's shadow): nothing to compare, and nothing
/// that an instruction under test may write to.
bool host_has_page(uint64_t linear);

#endif
