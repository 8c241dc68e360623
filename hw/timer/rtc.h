/* hw/timer/rtc.h - CMOS bytes that the machine sets for the firmware. VM lock. */
#ifndef HW_TIMER_RTC_H
#define HW_TIMER_RTC_H
#include "core/dev.h"

void rtc_set_cmos(Dev *rtc, unsigned n, uint8_t v);
uint8_t rtc_get_cmos(const Dev *rtc, unsigned n);
#endif
