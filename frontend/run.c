// Runs a machine: in host mode a vCPU thread beside the main loop; in counting mode one thread that goes from event to
// event by instruction counts, so that a run repeats exactly.
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/host.h"
#include "frontend/machine.h"
#include "frontend/snapshot.h"

#define MWAIT_LOOK_NS 1000000           // a vCPU in MWAIT looks at the monitored line so often
#define POLL_EVERY_INSTRUCTIONS 2000000 // counting mode looks at the host's files so often
#define HALTS_FOR_EVER 1000000          // events that leave a guest halted, with no instruction between them

void machine_exit(struct machine *machine, int code, const char *reason)
{
    machine_lock(machine);
    if (!atomic_load(&machine->exiting)) {
        machine->exit_code = code;
        if (reason)
            snprintf(machine->exit_reason, sizeof machine->exit_reason, "%s", reason);
        atomic_store(&machine->exiting, true);
    }
    cpu_set_pending(machine->cpu, PENDING_STOP);
    if (machine->config.counting && machine->cpu->running)
        machine->cpu->leave = true;
    pthread_cond_broadcast(&machine->wake);
    machine_unlock(machine);
    uint64_t one = 1;
    if (write(machine->wake_file, &one, sizeof one) < 0)
        return; // the counter is full: the main loop wakes anyway
}

void machine_request_reset(struct machine *machine)
{
    machine_lock(machine);
    cpu_set_pending(machine->cpu, PENDING_RESET);
    pthread_cond_broadcast(&machine->wake);
    machine_unlock(machine);
}

/// Pins that can end a halt in the present state. A pin that is masked must not: run() would come straight back.
static bool can_wake(const struct cpu *cpu)
{
    uint32_t pending = atomic_load(&cpu->pending);
    if (!(cpu->var[VAR_FLAGS] & FLAG_IF) && !(cpu->activity == ACTIVITY_MWAIT && cpu->mwait_breaks))
        pending &= ~PENDING_INTR;
    if (cpu->nmi_blocked)
        pending &= ~PENDING_NMI;
    if (cpu->in_smm)
        pending &= ~(PENDING_SMI | PENDING_INIT);
    return pending != 0;
}

static void report_triple_fault(struct machine *machine)
{
    fprintf(stderr, "doppel: triple fault after %" PRIu64 " instructions%s; the CPU's state:\r\n",
            machine_count(machine), machine->config.no_reboot ? "" : ", resetting");
    cpu_print(machine->cpu, stderr);
    fflush(stderr);
}

static void reset_or_exit(struct machine *machine, int code)
{
    if (machine->config.no_reboot) {
        machine_exit(machine, code, NULL);
        return;
    }
    struct error error = {0};
    if (!machine_reset(machine, &error))
        machine_exit(machine, EXIT_HOST_ERROR, error.text);
}

/// Acts on why the engine came back; STOP_HALT is the caller's. The lock is held.
static void handle_stop(struct machine *machine, enum engine_stop stop)
{
    switch (stop) {
    case STOP_RESET:
        cpu_clear_pending(machine->cpu, PENDING_RESET);
        reset_or_exit(machine, EXIT_POWER_OFF);
        break;
    case STOP_SHUTDOWN:
        report_triple_fault(machine);
        reset_or_exit(machine, EXIT_TRIPLE_FAULT);
        break;
    case STOP_DEADLINE:
        if (machine->config.limit && machine_count(machine) >= machine->config.limit)
            machine_exit(machine, EXIT_POWER_OFF, NULL);
        break;
    case STOP_HALT:
    case STOP_DEBUG:
    case STOP_REQUEST:
        break;
    }
}

// ---- host mode --------------------------------------------------------------------------------------------------

static bool must_park(const struct machine *machine)
{
    return machine->holds || machine->paused || atomic_load(&machine->exiting);
}

/// Until something happens. False: a vCPU in MWAIT should look at its line again, which nobody tells about.
static bool sleep_halted(struct machine *machine)
{
    struct timespec until;
    if (machine->cpu->activity != ACTIVITY_MWAIT) {
        pthread_cond_wait(&machine->wake, &machine->lock);
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += MWAIT_LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&machine->wake, &machine->lock, &until) != ETIMEDOUT;
}

static void *vcpu_main(void *opaque)
{
    struct machine *machine = opaque;
    struct cpu *cpu = machine->cpu;
    bool halted = false;
    machine_lock(machine);
    while (!atomic_load(&machine->exiting)) {
        if (must_park(machine)) {
            if (!machine->vcpu_parked)
                tick_follower_stop(&cpu->tsc, host_ticks());
            machine->vcpu_parked = true;
            pthread_cond_broadcast(&machine->parked_changed);
            pthread_cond_wait(&machine->wake, &machine->lock);
            halted = false; // the state may be another one now: let the engine find out
            continue;
        }
        machine->vcpu_parked = false;
        if (halted && !can_wake(cpu)) {
            halted = sleep_halted(machine);
            continue;
        }
        cpu->instruction_limit = machine->config.limit ? machine->config.limit : UINT64_MAX;
        machine_unlock(machine);
        enum engine_stop stop = machine->config.engine->run(machine->engine_state, cpu);
        machine_lock(machine);
        halted = stop == STOP_HALT;
        handle_stop(machine, stop);
    }
    machine->vcpu_parked = true;
    pthread_cond_broadcast(&machine->parked_changed);
    machine_unlock(machine);
    return NULL;
}

static void update_clock(struct machine *machine)
{
    bool run = !machine->holds && !machine->paused;
    if (run && !machine->clock.running)
        clock_start(&machine->clock);
    else if (!run && machine->clock.running)
        clock_stop(&machine->clock);
}

void machine_hold(struct machine *machine)
{
    machine_lock(machine);
    machine->holds++;
    if (machine->vcpu_started) {
        if (!machine->vcpu_parked)
            cpu_set_pending(machine->cpu, PENDING_STOP);
        pthread_cond_broadcast(&machine->wake);
        while (!machine->vcpu_parked)
            pthread_cond_wait(&machine->parked_changed, &machine->lock);
    }
    update_clock(machine);
    machine_unlock(machine);
}

void machine_release(struct machine *machine)
{
    machine_lock(machine);
    machine->holds--;
    update_clock(machine);
    pthread_cond_broadcast(&machine->wake);
    machine_unlock(machine);
}

void machine_set_paused(struct machine *machine, bool paused)
{
    machine_hold(machine);
    machine->paused = paused;
    machine_release(machine);
}

static int run_host(struct machine *machine)
{
    int failure = pthread_create(&machine->vcpu_thread, NULL, vcpu_main, machine);
    if (failure) {
        fprintf(stderr, "doppel: cannot create the vCPU's thread: %s\n", strerror(failure));
        return EXIT_HOST_ERROR;
    }
    machine->vcpu_started = true;
    while (!atomic_load(&machine->exiting)) {
        machine_lock(machine);
        if (machine->paused)
            update_clock(machine); // the guest may have paused itself (-no-shutdown)
        if (machine->clock.running)
            clock_run_due(&machine->clock);
        uint64_t deadline = machine->clock.running ? clock_next_deadline(&machine->clock) : CLOCK_NEVER;
        machine->sleep_until = deadline;
        uint64_t now = clock_now(&machine->clock);
        machine_unlock(machine);
        uint64_t timeout = deadline == CLOCK_NEVER ? UINT64_MAX : deadline > now ? deadline - now : 0;
        machine->poll(machine->poll_opaque, machine, timeout);
    }
    pthread_join(machine->vcpu_thread, NULL);
    machine->vcpu_started = false;
    return machine->exit_code;
}

// ---- counting mode ----------------------------------------------------------------------------------------------

/// Hashes and snapshots that are due at this count. Translations of addresses are dropped at these points: a run that
/// starts from the snapshot begins with none, and Accessed bits must come out the same.
static void at_count(struct machine *machine)
{
    uint64_t count = machine_count(machine);
    struct machine_config *config = &machine->config;
    if (config->save_path && !machine->saved && count >= config->save_at) {
        struct error error = {0};
        machine->saved = true;
        mmu_flush_all(&machine->cpu->mmu);
        if (!snapshot_save(machine, config->save_path, &error))
            machine_exit(machine, EXIT_HOST_ERROR, error.text);
    }
    if (config->hash_every && count >= machine->next_hash) {
        mmu_flush_all(&machine->cpu->mmu);
        fprintf(config->hash_to, "hash %" PRIu64 " %016" PRIx64 "\n", count, snapshot_hash(machine));
        machine->next_hash = (count / config->hash_every + 1) * config->hash_every;
    }
    if (config->limit && count >= config->limit)
        machine_exit(machine, EXIT_POWER_OFF, NULL);
}

/// The count at which something other than the guest's own doing is due.
static uint64_t next_stop(const struct machine *machine)
{
    const struct machine_config *config = &machine->config;
    uint64_t count = machine_count(machine), stop = count + POLL_EVERY_INSTRUCTIONS;
    stop -= stop % POLL_EVERY_INSTRUCTIONS;
    uint64_t deadline = clock_next_deadline(&machine->clock);
    if (deadline != CLOCK_NEVER) {
        // An event that was armed for the past again while events ran waits one instruction: the guest goes on.
        uint64_t at = clock_count_at(&machine->clock, deadline);
        if (at < stop)
            stop = at > count ? at : count + 1;
    }
    if (config->limit && config->limit < stop)
        stop = config->limit;
    if (config->hash_every && machine->next_hash < stop)
        stop = machine->next_hash;
    if (config->save_path && !machine->saved && config->save_at > count && config->save_at < stop)
        stop = config->save_at;
    return stop;
}

/// Nothing runs until a pin changes: time jumps to the next event, or stands still until input comes. False: there is
/// no event.
static bool skip_halt(struct machine *machine)
{
    if (can_wake(machine->cpu) || atomic_load(&machine->exiting))
        return true;
    uint64_t deadline = clock_next_deadline(&machine->clock);
    if (deadline == CLOCK_NEVER)
        return false;
    if (deadline > clock_now(&machine->clock))
        clock_set(&machine->clock, deadline);
    return true;
}

/// From one event to the next, at most to instruction `until`. False: the guest halts, and nothing will wake it.
static bool run_slice(struct machine *machine, uint64_t until, uint64_t *halts)
{
    struct cpu *cpu = machine->cpu;
    clock_run_due(&machine->clock);
    at_count(machine);
    uint64_t stop_at = next_stop(machine);
    cpu->instruction_limit = stop_at < until ? stop_at : until;
    if (atomic_load(&machine->exiting) || cpu->instruction_limit <= machine_count(machine))
        return true;
    enum engine_stop stop = machine->config.engine->run(machine->engine_state, cpu);
    if (stop == STOP_HALT) {
        ++*halts;
        return skip_halt(machine);
    }
    if (stop != STOP_DEADLINE)
        handle_stop(machine, stop);
    return true;
}

static int run_counting(struct machine *machine)
{
    uint64_t next_poll = 0, halts = 0;
    update_clock(machine);
    while (!atomic_load(&machine->exiting)) {
        if (machine->paused) {
            update_clock(machine);
            machine->poll(machine->poll_opaque, machine, UINT64_MAX);
            continue;
        }
        if (machine_count(machine) >= next_poll || halts >= 1000) {
            machine->poll(machine->poll_opaque, machine, 0);
            next_poll = machine_count(machine) + POLL_EVERY_INSTRUCTIONS;
            halts = 0;
            continue; // it may have paused or ended the machine, or brought input
        }
        if (!run_slice(machine, UINT64_MAX, &halts))
            machine->poll(machine->poll_opaque, machine, UINT64_MAX);
    }
    return machine->exit_code;
}

bool machine_run_to(struct machine *machine, uint64_t count)
{
    uint64_t halts = 0, before = machine_count(machine);
    update_clock(machine);
    while (!atomic_load(&machine->exiting) && machine_count(machine) < count) {
        if (!run_slice(machine, count, &halts) || halts > HALTS_FOR_EVER)
            return false;
        if (machine_count(machine) != before)
            halts = 0;
        before = machine_count(machine);
    }
    return machine_count(machine) >= count;
}

int machine_run(struct machine *machine)
{
    machine_lock(machine);
    update_clock(machine);
    machine_unlock(machine);
    return machine->config.counting ? run_counting(machine) : run_host(machine);
}
