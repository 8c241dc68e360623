/* feat.h - what of the host's instruction set the emitter asks for. Constant while the process lives. */
#ifndef TCG_X86_64_FEAT_H
#define TCG_X86_64_FEAT_H
#include <stdbool.h>
bool t1_host_has_adx(void);
bool t1_host_has_avx(void); /* AVX2, and the OS keeps it */
#endif
