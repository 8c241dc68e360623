/* target/x86/models-priv.h - between models.c and models-qmp.c. */
#ifndef TARGET_X86_MODELS_PRIV_H
#define TARGET_X86_MODELS_PRIV_H
#include "core/api/machine.h"
#include "target/x86/models.h"

typedef struct Feature {
    const char *name;
    uint8_t word, bit; /* word: W_* */
    bool have;         /* the software CPU implements it */
    int row;           /* instructions of decode.tbl with cpu=..: RowFeature, or 0 */
} Feature;
typedef struct Model {
    const char *name, *desc, *vendor;
    uint8_t family, model, stepping;
    uint32_t level, xlevel;
    const char *brand, *parent, *feats; /* features: space separated, added to the parent's; -x: taken away */
} Model;
typedef struct WordAt {
    uint32_t leaf;
    uint8_t sub, reg; /* 0 EAX .. 3 EDX */
} WordAt;
enum { NO_LEAF = 0xffffffff };
#define HYPERVISOR (1u << 31) /* of W_1C */
extern const Feature x86__features[];
extern const Model x86__models[];
extern const unsigned x86__nfeatures, x86__nmodels;
extern const WordAt x86__word_at[WORDS];
const Feature *x86__feature_find(const char *name); /* or NULL */
const Model *x86__model_find(const char *name);     /* or NULL */
void x86__add_features(const Model *m, uint32_t words[WORDS]);
void x86__offered(const Cpu *cpu, uint32_t words[WORDS]); /* accel and vm are looked at */
void x86__names(const uint32_t words[WORDS], StrList *out);
bool x86__choice_begin(X86Choice *c, const Cpu *cpu, const char *model, Error **err);
bool x86__choice_set(X86Choice *c, const char *key, const char *val, Error **err);
char *x86__choice_get(const X86Choice *c, const char *key); /* caller frees */
void x86__choice_settle(X86Choice *c, const Cpu *cpu);
#endif
