/* SPDX-License-Identifier: MIT */
/* Faults: what shall fail, by the caller's list or by its text form. */
#include "block/drivers/sim-internal.h"

/* --- when requests come --- */

static bool touches(const SimFault *f, const SimRequest *r)
{
    return r->op != SIM_FLUSH && r->offset < f->offset + f->bytes &&
           r->offset + MAX(r->bytes, 1) > f->offset;
}

static bool matches(const SimFault *f, const SimRequest *r, bool growing)
{
    return (!f->disk || f->disk == r->disk) && (!f->ops || (f->ops & r->op)) &&
           (!f->growing || growing) && (!f->bytes || touches(f, r));
}

int sim_fault_check(SimPower *power, const SimRequest *r, bool growing, SimEffect *effect)
{
    const SimFault *found = NULL;

    for (guint i = 0; i < power->faults->len; i++) {
        SimFaultState *s = &g_array_index(power->faults, SimFaultState, i);
        const SimFault *f = &s->fault;

        if (!matches(f, r, growing) || ++s->matches < MAX(f->nth, 1) || found ||
            s->hits >= MAX(f->count, 1) ||
            (f->ppm && sim_random_below(power, 1000000) >= f->ppm)) {
            continue;
        }
        s->hits++;
        found = f;
    }
    if (!found) {
        return 0;
    }
    *effect = found->effect;
    return found->error ? -found->error : -EIO;
}

/* --- the list --- */

/* Under the lock. */
static unsigned add_fault(SimPower *power, const SimFault *fault)
{
    SimFaultState s = { .fault = *fault, .id = ++power->last_fault_id };

    g_assert(fault->offset >= 0 && fault->bytes >= 0 &&
             fault->offset <= INT64_MAX - fault->bytes && fault->error >= 0);
    g_array_append_val(power->faults, s);
    return s.id;
}

unsigned sim_power_add_fault(SimPower *power, const SimFault *fault)
{
    unsigned id;

    qemu_mutex_lock(&power->lock);
    id = add_fault(power, fault);
    qemu_mutex_unlock(&power->lock);
    return id;
}

/* Under the lock. -1: none. */
static int find_fault(SimPower *power, unsigned id)
{
    for (guint i = 0; i < power->faults->len; i++) {
        if (g_array_index(power->faults, SimFaultState, i).id == id) {
            return i;
        }
    }
    return -1;
}

void sim_power_remove_fault(SimPower *power, unsigned id)
{
    int i;

    qemu_mutex_lock(&power->lock);
    i = find_fault(power, id);
    if (i >= 0) {
        g_array_remove_index(power->faults, i);
    }
    qemu_mutex_unlock(&power->lock);
}

void sim_power_clear_faults(SimPower *power)
{
    qemu_mutex_lock(&power->lock);
    g_array_set_size(power->faults, 0);
    qemu_mutex_unlock(&power->lock);
}

static SimFaultState fault_state(SimPower *power, unsigned id)
{
    SimFaultState s = { .id = 0 };
    int i;

    qemu_mutex_lock(&power->lock);
    i = find_fault(power, id);
    if (i >= 0) {
        s = g_array_index(power->faults, SimFaultState, i);
    }
    qemu_mutex_unlock(&power->lock);
    return s;
}

uint64_t sim_power_fault_hits(SimPower *power, unsigned id)
{
    return fault_state(power, id).hits;
}

uint64_t sim_power_fault_matches(SimPower *power, unsigned id)
{
    return fault_state(power, id).matches;
}

/* --- text --- */

typedef struct Word {
    const char *name;
    unsigned value;
} Word;

static const Word op_words[] = {
    { "any", SIM_OP_ALL },     { "change", SIM_OP_CHANGE },     { "read", SIM_READ },
    { "write", SIM_WRITE },    { "zero", SIM_ZERO },            { "discard", SIM_DISCARD },
    { "flush", SIM_FLUSH },    { "truncate", SIM_TRUNCATE },    { "status", SIM_STATUS },
    { NULL, 0 },
};
static const Word error_words[] = {
    { "EIO", EIO },       { "ENOSPC", ENOSPC },       { "EAGAIN", EAGAIN }, { "EPERM", EPERM },
    { "ENOMEM", ENOMEM }, { "ETIMEDOUT", ETIMEDOUT }, { "EBUSY", EBUSY },   { "EINTR", EINTR },
    { "EINVAL", EINVAL }, { "EACCES", EACCES },       { "EFBIG", EFBIG },   { "EROFS", EROFS },
    { "EDQUOT", EDQUOT }, { "ENOTSUP", ENOTSUP },     { NULL, 0 },
};
static const Word effect_words[] = {
    { "none", SIM_EFFECT_NONE },
    { "half", SIM_EFFECT_HALF },
    { "all", SIM_EFFECT_ALL },
    { "lost", SIM_EFFECT_LOST },
    { NULL, 0 },
};

/* A word at *@text, which moves behind it. */
static bool take_word(const char **text, const Word *words, unsigned *value)
{
    size_t len = strspn(*text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    for (; words->name; words++) {
        if (strlen(words->name) == len && !strncmp(*text, words->name, len)) {
            *text += len;
            *value = words->value;
            return true;
        }
    }
    return false;
}

static bool take_number(const char **text, uint64_t max, uint64_t *value)
{
    char *end;

    if (!g_ascii_isdigit(**text)) {
        return false;
    }
    errno = 0;
    *value = g_ascii_strtoull(*text, &end, 10);
    *text = end;
    return errno == 0 && *value <= max;
}

static bool take_ops(const char **text, SimFault *f)
{
    unsigned op;

    for (;; ++*text) {
        if (g_str_has_prefix(*text, "growing")) {
            *text += strlen("growing");
            f->growing = true;
        } else if (take_word(text, op_words, &op)) {
            f->ops |= op;
        } else {
            return false;
        }
        if (**text != '|') {
            return true;
        }
    }
}

static bool take_range(const char **text, SimFault *f)
{
    uint64_t offset, bytes;

    if (**text != '@') {
        return true;
    }
    ++*text;
    if (!take_number(text, INT64_MAX, &offset) || **text != '+') {
        return false;
    }
    ++*text;
    if (!take_number(text, INT64_MAX - offset, &bytes) || bytes == 0) {
        return false;
    }
    f->offset = offset;
    f->bytes = bytes;
    return true;
}

static bool take_counts(const char **text, SimFault *f)
{
    uint64_t ppm;

    if (**text == '#') {
        ++*text;
        if (!take_number(text, UINT64_MAX, &f->nth) || f->nth == 0) {
            return false;
        }
        if (**text == 'x' && (*text)[1] == '*') {
            *text += 2;
            f->count = SIM_FOREVER;
        } else if (**text == 'x') {
            ++*text;
            if (!take_number(text, UINT64_MAX, &f->count) || f->count == 0) {
                return false;
            }
        }
    }
    if (**text == '%') {
        ++*text;
        if (!take_number(text, 1000000, &ppm) || ppm == 0) {
            return false;
        }
        f->ppm = ppm;
    }
    return true;
}

static bool take_result(const char **text, SimFault *f)
{
    unsigned value;

    if (**text != '=') {
        return false;
    }
    ++*text;
    if (!take_word(text, error_words, &value)) {
        return false;
    }
    f->error = value;
    if (**text == '/') {
        ++*text;
        if (!take_word(text, effect_words, &value)) {
            return false;
        }
        f->effect = value;
    }
    return **text == '\0' || **text == ';';
}

bool sim_power_script_faults(SimPower *power, SimDisk *disk, const char *text, Error **errp)
{
    g_autoptr(GArray) faults = g_array_new(FALSE, FALSE, sizeof(SimFault));
    const char *p = text;

    while (*p) {
        SimFault f = { .disk = disk };
        const char *item = p;

        if (!take_ops(&p, &f) || !take_range(&p, &f) || !take_counts(&p, &f) ||
            !take_result(&p, &f)) {
            error_setg(errp, "'%.*s' is not a fault, such as 'write|zero@0+512#3x2=EIO/half' or "
                       "'flush#1x*=EIO'", (int)strcspn(item, ";"), item);
            return false;
        }
        g_array_append_val(faults, f);
        p += *p == ';';
    }
    qemu_mutex_lock(&power->lock);
    for (guint i = 0; i < faults->len; i++) {
        add_fault(power, &g_array_index(faults, SimFault, i));
    }
    qemu_mutex_unlock(&power->lock);
    return true;
}
