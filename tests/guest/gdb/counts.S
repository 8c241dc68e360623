/* Long mode, then work() of counts.c.
 * bits: 64
 */
    GOOD_IDT
    call work
