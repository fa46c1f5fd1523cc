// The MC146818 clock and CMOS RAM. Calendar time is derived from the guest clock; flags are collected whenever
// software looks, and an event exists only for interrupts that are enabled.
#include "devices/rtc.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define DIVIDER_HZ 32768
#define SECONDS_PER_DAY 86400
#define RTC_YEAR_0 INT64_C(-62167219200)
#define RTC_YEAR_10000 INT64_C(253402300800)

// An update cycle takes 1984 us; the update-in-progress bit is set 244 us before it.
#define UPDATE_IN_PROGRESS_NS (2228 * 1000)

enum rtc_register {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM = 0x01,
    RTC_MINUTES = 0x02,
    RTC_MINUTES_ALARM = 0x03,
    RTC_HOURS = 0x04,
    RTC_HOURS_ALARM = 0x05,
    RTC_WEEKDAY = 0x06,
    RTC_DAY = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_A = 0x0A,
    RTC_B = 0x0B,
    RTC_C = 0x0C,
    RTC_D = 0x0D,
    RTC_CENTURY = 0x32,
};

enum {
    A_UPDATE_IN_PROGRESS = 1 << 7,
    B_24_HOURS = 1 << 1,
    B_BINARY = 1 << 2,
    B_SQUARE_WAVE = 1 << 3,
    B_UPDATE = 1 << 4, // interrupt enables, at the places of register C's flags
    B_ALARM = 1 << 5,
    B_PERIODIC = 1 << 6,
    B_SET = 1 << 7,
    B_INTERRUPTS = B_UPDATE | B_ALARM | B_PERIODIC,
    C_INTERRUPT = 1 << 7,
    D_VALID = 1 << 7,
    HOURS_PM = 0x80,
    ALARM_ANY = 0xC0,
};

struct rtc_date {
    int64_t year;
    unsigned month, day; // 1..12, 1..31
};

/// Days since 1970-01-01 in the Gregorian calendar; `year` 0..9999. Counts years from March, so that the leap day
/// is the last of a year.
static int64_t rtc_days_from_date(struct rtc_date date)
{
    int64_t year = date.year - (date.month <= 2) + 400; // + 400: positive for the divisions below
    unsigned month = (date.month + 9) % 12;             // March is 0
    int64_t day_of_year = (153 * (int64_t)month + 2) / 5 + date.day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468 - 146097;
}

static struct rtc_date rtc_date_from_days(int64_t days)
{
    int64_t shifted = days + 719468 + 146097; // since 0000-03-01, one era of 400 years earlier
    int64_t era = shifted / 146097, day = shifted % 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t day_of_year = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    struct rtc_date date = {
        .year = year + era * 400 - 400 + (month >= 10),
        .month = (unsigned)(month < 10 ? month + 3 : month - 9),
        .day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1),
    };
    return date;
}

static int64_t floor_divide(int64_t value, int64_t divisor)
{
    int64_t quotient = value / divisor;
    return value % divisor < 0 ? quotient - 1 : quotient;
}

static int64_t rtc_now(const struct rtc *rtc)
{
    return (int64_t)clock_now(rtc->device.context->clock);
}

/// The divider chain runs on one of the three oscillators (it is held in reset otherwise).
static bool rtc_divider_runs(const struct rtc *rtc)
{
    return (rtc->cmos[RTC_A] >> 4 & 7) <= 2;
}

static bool rtc_time_runs(const struct rtc *rtc)
{
    return rtc_divider_runs(rtc) && !(rtc->cmos[RTC_B] & B_SET);
}

static int64_t rtc_calendar(const struct rtc *rtc, int64_t now)
{
    return rtc->seconds + floor_divide(now - rtc->origin, NS_PER_SECOND);
}

static uint8_t rtc_encode(const struct rtc *rtc, unsigned value)
{
    if (rtc->cmos[RTC_B] & B_BINARY)
        return (uint8_t)value;
    return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

/// A byte's number, at most `maximum`.
static unsigned rtc_decode(const struct rtc *rtc, uint8_t byte, unsigned maximum)
{
    unsigned value = rtc->cmos[RTC_B] & B_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
    return value < maximum ? value : maximum;
}

static uint8_t rtc_encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->cmos[RTC_B] & B_24_HOURS)
        return rtc_encode(rtc, hour);
    uint8_t byte = rtc_encode(rtc, hour % 12 ? hour % 12 : 12);
    return hour >= 12 ? byte | HOURS_PM : byte;
}

static unsigned rtc_decode_hour(const struct rtc *rtc, uint8_t byte)
{
    if (rtc->cmos[RTC_B] & B_24_HOURS)
        return rtc_decode(rtc, byte, 23);
    unsigned hour = rtc_decode(rtc, byte & ~HOURS_PM, 12) % 12;
    return byte & HOURS_PM ? hour + 12 : hour;
}

/// 1 (Sunday) to 7.
static unsigned rtc_weekday(const struct rtc *rtc, int64_t days)
{
    return (unsigned)((days + 4 + 7 * 200000 + rtc->weekday_shift) % 7) + 1;
}

/// Writes the time `seconds` into the time bytes.
static void rtc_store_time(struct rtc *rtc, int64_t seconds)
{
    int64_t days = floor_divide(seconds, SECONDS_PER_DAY);
    unsigned second = (unsigned)(seconds - days * SECONDS_PER_DAY);
    struct rtc_date date = rtc_date_from_days(days);
    rtc->cmos[RTC_SECONDS] = rtc_encode(rtc, second % 60);
    rtc->cmos[RTC_MINUTES] = rtc_encode(rtc, second / 60 % 60);
    rtc->cmos[RTC_HOURS] = rtc_encode_hour(rtc, second / 3600);
    rtc->cmos[RTC_WEEKDAY] = rtc_encode(rtc, rtc_weekday(rtc, days));
    rtc->cmos[RTC_DAY] = rtc_encode(rtc, date.day);
    rtc->cmos[RTC_MONTH] = rtc_encode(rtc, date.month);
    rtc->cmos[RTC_YEAR] = rtc_encode(rtc, (unsigned)(date.year % 100));
    rtc->cmos[RTC_CENTURY] = rtc_encode(rtc, (unsigned)(date.year / 100 % 100));
}

/// The time that the time bytes give, as seconds since 1970; numbers out of range count as the nearest in range.
/// The weekday is a counter of its own in the chip: its distance to the date's is kept.
static int64_t rtc_load_time(struct rtc *rtc)
{
    const uint8_t *cmos = rtc->cmos;
    struct rtc_date date = {
        .year = rtc_decode(rtc, cmos[RTC_CENTURY], 99) * 100 + rtc_decode(rtc, cmos[RTC_YEAR], 99),
        .month = rtc_decode(rtc, cmos[RTC_MONTH], 12),
        .day = rtc_decode(rtc, cmos[RTC_DAY], 31),
    };
    date.month += date.month == 0;
    date.day += date.day == 0;
    int64_t days = rtc_days_from_date(date);
    rtc->weekday_shift = 0;
    rtc->weekday_shift = (uint8_t)((rtc_decode(rtc, cmos[RTC_WEEKDAY], 7) + 7 - rtc_weekday(rtc, days)) % 7);
    return days * SECONDS_PER_DAY + rtc_decode_hour(rtc, cmos[RTC_HOURS]) * 3600 +
           rtc_decode(rtc, cmos[RTC_MINUTES], 59) * 60 + rtc_decode(rtc, cmos[RTC_SECONDS], 59);
}

static bool rtc_alarm_matches(const struct rtc *rtc, enum rtc_register alarm, unsigned value)
{
    uint8_t byte = rtc->cmos[alarm];
    if (byte >= ALARM_ANY)
        return true;
    return byte == (alarm == RTC_HOURS_ALARM ? rtc_encode_hour(rtc, value) : rtc_encode(rtc, value));
}

/// The first second after `seconds` that matches the alarm, or INT64_MAX when none ever does.
static int64_t rtc_next_alarm(const struct rtc *rtc, int64_t seconds)
{
    int64_t at = seconds + 1, limit = seconds + SECONDS_PER_DAY + 1;
    while (at < limit) {
        unsigned second = (unsigned)(at - floor_divide(at, SECONDS_PER_DAY) * SECONDS_PER_DAY);
        if (!rtc_alarm_matches(rtc, RTC_HOURS_ALARM, second / 3600))
            at += 3600 - second % 3600;
        else if (!rtc_alarm_matches(rtc, RTC_MINUTES_ALARM, second / 60 % 60))
            at += 60 - second % 60;
        else if (!rtc_alarm_matches(rtc, RTC_SECONDS_ALARM, second % 60))
            at++;
        else
            return at;
    }
    return INT64_MAX;
}

/// Divider pulses (32768 Hz) between two periodic flags, or 0.
static unsigned rtc_periodic_divider(const struct rtc *rtc)
{
    unsigned rate = rtc->cmos[RTC_A] & 15;
    if (rate == 0 || !rtc_divider_runs(rtc))
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

/// How many periods of `divider` pulses have ended at `now`; counted from a day before the origin, so that it is
/// positive for the half second that the origin may lie ahead.
static uint64_t rtc_periods(const struct rtc *rtc, int64_t now, unsigned divider)
{
    uint64_t since = (uint64_t)(now - rtc->origin + SECONDS_PER_DAY * NS_PER_SECOND);
    return clock_scale(since, DIVIDER_HZ, NS_PER_SECOND) / divider;
}

/// Guest time at which period number `period` ends.
static int64_t rtc_period_end(const struct rtc *rtc, uint64_t period, unsigned divider)
{
    int64_t since = (int64_t)clock_scale(period * divider, NS_PER_SECOND, DIVIDER_HZ);
    int64_t at = since + rtc->origin - SECONDS_PER_DAY * NS_PER_SECOND;
    return rtc_periods(rtc, at, divider) < period ? at + 1 : at;
}

/// Collects the flags of everything that happened since the last call and drives the interrupt line.
static void rtc_collect(struct rtc *rtc, int64_t now)
{
    int64_t seen = (int64_t)rtc->seen;
    unsigned divider = rtc_periodic_divider(rtc);
    uint8_t flags = rtc->cmos[RTC_C] & B_INTERRUPTS;
    if (divider && rtc_periods(rtc, now, divider) != rtc_periods(rtc, seen, divider))
        flags |= B_PERIODIC;
    if (rtc_time_runs(rtc)) {
        int64_t from = rtc_calendar(rtc, seen), to = rtc_calendar(rtc, now);
        if (from != to)
            flags |= B_UPDATE;
        if (from != to && rtc_next_alarm(rtc, from) <= to)
            flags |= B_ALARM;
    }
    rtc->seen = (uint64_t)now;
    bool interrupt = flags & rtc->cmos[RTC_B] & B_INTERRUPTS;
    rtc->cmos[RTC_C] = flags | (interrupt ? C_INTERRUPT : 0);
    wire_set(&rtc->irq, interrupt);
}

/// Arms the event for the next enabled interrupt; none is needed while the line is high.
static void rtc_arm(struct rtc *rtc, int64_t now)
{
    uint8_t enabled = rtc->cmos[RTC_B];
    unsigned divider = rtc_periodic_divider(rtc);
    int64_t next = INT64_MAX;
    if (enabled & B_PERIODIC && divider)
        next = rtc_period_end(rtc, rtc_periods(rtc, now, divider) + 1, divider);
    if (enabled & (B_UPDATE | B_ALARM) && rtc_time_runs(rtc)) {
        int64_t calendar = rtc_calendar(rtc, now);
        int64_t second = enabled & B_UPDATE ? calendar + 1 : rtc_next_alarm(rtc, calendar);
        if (second != INT64_MAX) {
            int64_t at = rtc->origin + (second - rtc->seconds) * NS_PER_SECOND;
            next = at < next ? at : next;
        }
    }
    if (next == INT64_MAX || rtc->cmos[RTC_C] & C_INTERRUPT)
        event_cancel(&rtc->event);
    else
        event_arm(&rtc->event, (uint64_t)next);
}

static void rtc_event(void *opaque)
{
    struct rtc *rtc = opaque;
    int64_t now = rtc_now(rtc);
    rtc_collect(rtc, now);
    rtc_arm(rtc, now);
}

static bool rtc_is_time(unsigned index)
{
    return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
           (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

/// Time begins to run from what the time bytes say. The divider chain went on meanwhile unless it was in reset,
/// after which the first update comes half a second later.
static void rtc_start_time(struct rtc *rtc, int64_t now)
{
    rtc->seconds = rtc_load_time(rtc);
    rtc->origin = now - (now - rtc->origin) % NS_PER_SECOND;
}

/// Sets registers A and B, which stop and start the clock and change how its bytes are written.
static void rtc_write_control(struct rtc *rtc, uint8_t a, uint8_t b, int64_t now)
{
    bool ran = rtc_time_runs(rtc), divider_ran = rtc_divider_runs(rtc);
    if (b & ~rtc->cmos[RTC_B] & B_SET)
        b &= ~B_UPDATE; // setting SET clears the update interrupt's enable
    int64_t calendar = rtc_calendar(rtc, now);
    rtc->cmos[RTC_A] = a & ~A_UPDATE_IN_PROGRESS;
    rtc->cmos[RTC_B] = b;
    if (!divider_ran && rtc_divider_runs(rtc))
        rtc->origin = now - NS_PER_SECOND / 2;
    if (ran)
        rtc_store_time(rtc, calendar);
    else if (rtc_time_runs(rtc))
        rtc_start_time(rtc, now);
    // What the new setting makes of the past is not to be seen.
    rtc->seen = (uint64_t)now;
}

static void rtc_write_data(struct rtc *rtc, unsigned index, uint8_t value)
{
    int64_t now = rtc_now(rtc);
    rtc_collect(rtc, now);
    if (index == RTC_A) {
        rtc_write_control(rtc, value, rtc->cmos[RTC_B], now);
    } else if (index == RTC_B) {
        rtc_write_control(rtc, rtc->cmos[RTC_A], value, now);
    } else if (index == RTC_C || index == RTC_D) {
        log_print(rtc->device.context->log, LOG_DEVICE, "%s: write of %#x to read-only register %#x\n", rtc->device.id,
                  value, index);
    } else if (rtc_is_time(index) && rtc_time_runs(rtc)) {
        rtc_store_time(rtc, rtc_calendar(rtc, now));
        rtc->cmos[index] = value;
        rtc_start_time(rtc, now);
    } else {
        rtc->cmos[index] = value;
    }
    rtc_collect(rtc, now);
    rtc_arm(rtc, now);
}

static uint8_t rtc_read_data(struct rtc *rtc, unsigned index)
{
    int64_t now = rtc_now(rtc);
    uint8_t value;
    switch (index) {
    case RTC_A:
        value = rtc->cmos[RTC_A];
        if (rtc_time_runs(rtc)) {
            int64_t phase = now - rtc->origin - floor_divide(now - rtc->origin, NS_PER_SECOND) * NS_PER_SECOND;
            value |= phase >= NS_PER_SECOND - UPDATE_IN_PROGRESS_NS ? A_UPDATE_IN_PROGRESS : 0;
        }
        return value;
    case RTC_C:
        rtc_collect(rtc, now);
        value = rtc->cmos[RTC_C];
        rtc->cmos[RTC_C] = 0;
        wire_set(&rtc->irq, false);
        rtc_arm(rtc, now);
        return value;
    case RTC_D:
        return D_VALID;
    default:
        if (rtc_is_time(index) && rtc_time_runs(rtc))
            rtc_store_time(rtc, rtc_calendar(rtc, now));
        return rtc->cmos[index];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct rtc *rtc = opaque;
    return offset & 1 ? rtc_read_data(rtc, rtc->index & 0x7F) : 0xFF; // the index cannot be read back
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct rtc *rtc = opaque;
    if (offset & 1)
        rtc_write_data(rtc, rtc->index & 0x7F, (uint8_t)value);
    else
        rtc->index = (uint8_t)value;
}

void rtc_cmos_set(struct rtc *rtc, unsigned index, uint8_t value)
{
    if (index > RTC_D && index < sizeof rtc->cmos && index != RTC_CENTURY)
        rtc->cmos[index] = value;
}

bool rtc_nmi_masked(const struct rtc *rtc)
{
    return rtc->index >> 7;
}

static bool rtc_init(void *device, struct error *error)
{
    struct rtc *rtc = device;
    event_init(&rtc->event, rtc->device.context->clock, rtc_event, rtc);
    rtc->cmos[RTC_A] = 0x26; // 32768 Hz, 1024 Hz periodic
    rtc->cmos[RTC_B] = B_24_HOURS;
    rtc->seconds = (int64_t)rtc->base;
    rtc_store_time(rtc, rtc->seconds);
    return true;
}

static void rtc_destroy(void *device)
{
    struct rtc *rtc = device;
    if (rtc->event.clock)
        event_cancel(&rtc->event);
}

/// The battery keeps time and RAM; the reset line clears the interrupt enables and flags.
static void rtc_reset(void *device)
{
    struct rtc *rtc = device;
    rtc->index = 0;
    rtc->cmos[RTC_B] &= ~(B_INTERRUPTS | B_SQUARE_WAVE);
    rtc->cmos[RTC_C] = 0;
    rtc->cmos[RTC_D] = 0;
    rtc->seen = (uint64_t)rtc_now(rtc);
    event_cancel(&rtc->event);
    wire_set(&rtc->irq, false);
}

static bool rtc_after_load(void *object, struct error *error)
{
    const struct rtc *rtc = object;
    if (rtc->seconds < RTC_YEAR_0 || rtc->seconds >= RTC_YEAR_10000 || rtc->weekday_shift > 6 ||
        rtc->origin < -NS_PER_SECOND || rtc->origin > INT64_MAX / 2 || rtc->seen > INT64_MAX / 2)
        return error_set(error, "real-time clock: impossible state");
    return true;
}

static const struct property rtc_property_list[] = {
    {.name = "base",
     .type = PROPERTY_UINT64,
     .offset = offsetof(struct rtc, base),
     .size = sizeof(uint64_t),
     .minimum = 0,
     .maximum = 253402300799,
     .default_text = "946684800",
     .help = "seconds since 1970-01-01 at power-on"},
};
static const struct property_table rtc_properties = {
    .name = "mc146818rtc",
    .properties = rtc_property_list,
    .count = ARRAY_SIZE(rtc_property_list),
};

static const struct state_field rtc_fields[] = {
    STATE_SKIP(rtc, device), STATE_SKIP(rtc, base), STATE_U(rtc, index), STATE_RAW(rtc, cmos),
    STATE_U(rtc, seconds),   STATE_U(rtc, origin),  STATE_U(rtc, seen),  STATE_U(rtc, weekday_shift),
    STATE_TIMER(rtc, event), STATE_SKIP(rtc, irq),
};
static const struct state_table rtc_state = STATE_TABLE("rtc", 1, rtc, rtc_fields, rtc_after_load);

static const struct region_ops rtc_regions[] = {
    {.read = rtc_read, .write = rtc_write, .max_size = 1, .name = "rtc"},
};
static const uint32_t rtc_region_sizes[] = {2};

const struct device_class rtc_class = {
    .name = "mc146818rtc",
    .description = "MC146818 real-time clock and CMOS RAM",
    .size = sizeof(struct rtc),
    .state = &rtc_state,
    .properties = &rtc_properties,
    .init = rtc_init,
    .reset = rtc_reset,
    .destroy = rtc_destroy,
    .regions = rtc_regions,
    .region_sizes = rtc_region_sizes,
    .region_count = ARRAY_SIZE(rtc_regions),
};
