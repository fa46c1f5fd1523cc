// The MC146818 real-time clock with 128 bytes of CMOS RAM. Region, 8-bit registers:
//   0: ports 0x70-0x71 (index, data)
#ifndef DOPPEL_DEVICES_RTC_H
#define DOPPEL_DEVICES_RTC_H

#include "devices/device.h"

struct rtc {
    struct device device;
    uint64_t base;         // property: seconds since 1970 at guest time 0
    uint8_t index;         // as written to port 0x70; bit 7 masks NMI
    uint8_t cmos[128];     // registers; time bytes are current only while the clock is set or stopped
    int64_t seconds;       // calendar seconds since 1970 at `origin`
    int64_t origin;        // guest ns at which the calendar second `seconds` began: the phase of the divider chain
    uint64_t seen;         // guest ns up to which flags were collected
    uint8_t weekday_shift; // set weekday minus the date's weekday, modulo 7
    struct event event;    // next moment at which an enabled interrupt comes
    struct wire irq;       // level: IRQ 8
};

extern const struct device_class rtc_class;

/// Writes a CMOS byte (0x0E..0x7F) as the board does at power-on: memory sizes, boot order.
void rtc_cmos_set(struct rtc *rtc, unsigned index, uint8_t value);
/// Bit 7 of port 0x70: NMI is masked.
bool rtc_nmi_masked(const struct rtc *rtc);

#endif
