/* SPDX-License-Identifier: MIT */
/*
 * What a power cut leaves. A cut is, for each disk, the contents that are durable for sure,
 * and a list of what may have happened to them besides, in the order of its effect; what was
 * in flight comes last. A choice says which sectors of which of these requests survived.
 *
 * In the list there are also requests that are durable (FUA writes, and all that stands behind
 * a failed one, see sim-log.c): they are put on in their turn and cannot be chosen.
 */
#include "block/drivers/sim-internal.h"

typedef struct CutItem {
    SimEvent *e;
    unsigned disk; /* index */
    bool firm;     /* durable */
    bool in_flight;
} CutItem;

struct SimCut {
    SimState *base;
    GArray *items;   /* of CutItem, in the order in which they are put on */
    GArray *pending; /* of unsigned: those of the items that are not firm */
    GArray *choices; /* of SimChoice */
};

/* --- states --- */

static SimState *state_new(unsigned n)
{
    SimState *state = g_malloc0(sizeof(*state) + n * sizeof(state->disks[0]));

    state->refs = 1;
    state->n = n;
    return state;
}

SimState *sim_state_ref(SimState *state)
{
    g_atomic_int_inc(&state->refs);
    return state;
}

void sim_state_unref(SimState *state)
{
    if (state && g_atomic_int_dec_and_test(&state->refs)) {
        for (unsigned i = 0; i < state->n; i++) {
            sim_bytes_clear(&state->disks[i].bytes);
        }
        g_free(state);
    }
}

static SimState *state_copy(const SimState *from)
{
    SimState *state = state_new(from->n);

    for (unsigned i = 0; i < from->n; i++) {
        state->disks[i].config = from->disks[i].config;
        sim_bytes_copy(&state->disks[i].bytes, &from->disks[i].bytes);
    }
    return state;
}

uint64_t sim_state_hash(const SimState *state)
{
    uint64_t hash = sim_stir(state->n);

    for (unsigned i = 0; i < state->n; i++) {
        hash = sim_stir(hash ^ sim_bytes_hash(&state->disks[i].bytes));
    }
    return hash;
}

SimState *sim_power_state(SimPower *power)
{
    SimState *state;

    qemu_mutex_lock(&power->lock);
    state = state_new(power->disks->len);
    for (unsigned i = 0; i < state->n; i++) {
        SimDisk *disk = g_ptr_array_index(power->disks, i);

        state->disks[i].config = disk->config;
        sim_bytes_copy(&state->disks[i].bytes, &disk->live);
    }
    qemu_mutex_unlock(&power->lock);
    return state;
}

/* Contents of all disks; durable, and time and log begin here. Under the lock. */
static void put_state(SimPower *power, const SimState *state)
{
    for (unsigned i = 0; i < state->n; i++) {
        SimDisk *disk = g_ptr_array_index(power->disks, i);

        disk->config = state->disks[i].config;
        sim_bytes_clear(&disk->live);
        sim_bytes_copy(&disk->live, &state->disks[i].bytes);
    }
    power->era++;
    power->on = true;
    power->cut_at_change = 0;
    power->cut_at_ns = 0;
    sim_log_restart(power);
}

void sim_power_load(SimPower *power, const SimState *state)
{
    sim_power_add_disks(power, state->n);
    qemu_mutex_lock(&power->lock);
    power->now = 0;
    g_array_set_size(power->faults, 0);
    put_state(power, state);
    qemu_mutex_unlock(&power->lock);
}

/* --- making a cut --- */

static bool ended(const SimEvent *e, uint64_t time)
{
    return e->end && e->end <= time;
}

/* All that happened to the disk behind its base, until @time. */
static void collect(SimCut *cut, const SimDisk *disk, uint64_t time)
{
    const SimPower *power = disk->power;
    const SimPoint *base = sim_log_base(disk, time);
    uint64_t durable = sim_log_durable(disk, time), in_base = base ? base->begin : 0;
    uint64_t first = base ? base->first : power->log_first;

    sim_bytes_copy(&cut->base->disks[disk->index].bytes, base ? &base->bytes : &disk->initial);
    cut->base->disks[disk->index].config = disk->config;
    for (uint64_t i = MAX(first, power->log_first) - power->log_first; i < power->log->len; i++) {
        SimEvent *e = g_ptr_array_index(power->log, i);
        CutItem item = { e, disk->index, false, !ended(e, time) };

        if (e->begin > time) {
            break;
        }
        if (e->disk != disk || e->op == SIM_FLUSH || e->nothing || ended(e, in_base)) {
            continue;
        }
        item.firm = !item.in_flight && ((!e->failed && e->end <= durable) ||
                                        (e->sync && e->sync <= time));
        sim_event_ref(e);
        g_array_append_val(cut->items, item);
    }
}

static int compare_items(gconstpointer a, gconstpointer b)
{
    const CutItem *x = a, *y = b;
    uint64_t s, t;

    if (x->in_flight != y->in_flight) {
        return x->in_flight ? 1 : -1;
    }
    s = x->in_flight ? x->e->begin : x->e->end;
    t = y->in_flight ? y->e->begin : y->e->end;
    return s < t ? -1 : s > t;
}

static const CutItem *pending_item(const SimCut *cut, unsigned request)
{
    unsigned i = g_array_index(cut->pending, unsigned, request);

    return &g_array_index(cut->items, CutItem, i);
}

static uint32_t sector_size(const SimCut *cut, const CutItem *item)
{
    return cut->base->disks[item->disk].config.sector_size;
}

static void add_choice(SimCut *cut, SimKeep keep, unsigned request)
{
    SimChoice choice = { keep, request, 0 };

    g_array_append_val(cut->choices, choice);
}

static void add_tears(SimCut *cut, unsigned request)
{
    const CutItem *item = pending_item(cut, request);
    unsigned sectors = sim_event_sectors(item->e, sector_size(cut, item));

    if (sectors >= 2) {
        add_choice(cut, SIM_TEAR_FRONT, request);
        add_choice(cut, SIM_TEAR_BACK, request);
    }
    if (sectors >= 2 && request + 1 < cut->pending->len) {
        add_choice(cut, SIM_TEAR_LAST, request);
    }
    /* With what it depended on lost. */
    if (sectors >= 2 && request > 0) {
        add_choice(cut, SIM_TEAR_ALONE, request);
    }
    if (sectors >= 2 && cut->pending->len >= 2) {
        add_choice(cut, SIM_TEAR_ALONE_BACK, request);
    }
    if (sectors >= 3) {
        add_choice(cut, SIM_TEAR_ODD, request);
    }
}

/* What would come out the same as another choice is left out. */
static void list_choices(SimCut *cut)
{
    unsigned n = cut->pending->len;

    add_choice(cut, SIM_KEEP_NONE, 0);
    if (n > 0) {
        add_choice(cut, SIM_KEEP_ALL, 0);
    }
    for (unsigned i = 0; i < n; i++) {
        if (n >= 2) {
            add_choice(cut, SIM_KEEP_ONE, i);
        }
        if (n >= 3) {
            add_choice(cut, SIM_LOSE_ONE, i);
        }
        if (i >= 2 && i + 2 <= n) {
            add_choice(cut, SIM_KEEP_PREFIX, i);
            add_choice(cut, SIM_KEEP_SUFFIX, i);
        }
        add_tears(cut, i);
    }
}

static void clear_item(gpointer data)
{
    sim_event_unref(((CutItem *)data)->e);
}

SimCut *sim_cut_new(SimPower *power, uint64_t time)
{
    SimCut *cut = g_new0(SimCut, 1);

    cut->items = g_array_new(FALSE, FALSE, sizeof(CutItem));
    g_array_set_clear_func(cut->items, clear_item);
    cut->pending = g_array_new(FALSE, FALSE, sizeof(unsigned));
    cut->choices = g_array_new(FALSE, FALSE, sizeof(SimChoice));
    qemu_mutex_lock(&power->lock);
    g_assert(time >= power->log_begin && time <= power->now);
    cut->base = state_new(power->disks->len);
    for (guint i = 0; i < power->disks->len; i++) {
        collect(cut, g_ptr_array_index(power->disks, i), time);
    }
    qemu_mutex_unlock(&power->lock);
    g_array_sort(cut->items, compare_items);
    for (unsigned i = 0; i < cut->items->len; i++) {
        if (!g_array_index(cut->items, CutItem, i).firm) {
            g_array_append_val(cut->pending, i);
        }
    }
    list_choices(cut);
    return cut;
}

void sim_cut_free(SimCut *cut)
{
    if (cut) {
        sim_state_unref(cut->base);
        g_array_free(cut->items, TRUE);
        g_array_free(cut->pending, TRUE);
        g_array_free(cut->choices, TRUE);
        g_free(cut);
    }
}

unsigned sim_cut_n_pending(const SimCut *cut)
{
    return cut->pending->len;
}

unsigned sim_cut_n_choices(const SimCut *cut)
{
    return cut->choices->len;
}

SimChoice sim_cut_choice(const SimCut *cut, unsigned i)
{
    g_assert(i < cut->choices->len);
    return g_array_index(cut->choices, SimChoice, i);
}

char *sim_cut_describe(const SimCut *cut, unsigned request)
{
    const CutItem *item;
    const SimEvent *e;

    g_assert(request < cut->pending->len);
    item = pending_item(cut, request);
    e = item->e;
    return g_strdup_printf("disk %u %s %" PRId64 "+%" PRId64 "%s, time %" PRIu64 "%s", item->disk,
                           sim_op_name(e->op), e->offset, e->bytes, e->fua ? " fua" : "", e->begin,
                           item->in_flight ? ", in flight" : e->failed ? ", failed" : "");
}

/* --- putting on what survived --- */

typedef struct Tear {
    SimKeep keep;
    uint64_t random;
    unsigned lost; /* RANDOM: per cent of the sectors */
} Tear;

static bool keep_sector(void *opaque, unsigned i, unsigned n)
{
    Tear *tear = opaque;

    switch (tear->keep) {
    case SIM_TEAR_FRONT:
    case SIM_TEAR_LAST:
    case SIM_TEAR_ALONE:
        return i < (n + 1) / 2;
    case SIM_TEAR_BACK:
    case SIM_TEAR_ALONE_BACK:
        return i >= (n + 1) / 2;
    case SIM_TEAR_ODD:
        return i % 2 == 0;
    default:
        return aio_sim_next_random(&tear->random) % 100 >= tear->lost;
    }
}

/* Whether pending request @i survives; *@tear: only in part. */
static bool survives(SimChoice choice, unsigned i, bool *tear)
{
    *tear = false;
    switch (choice.keep) {
    case SIM_KEEP_NONE:
        return false;
    case SIM_KEEP_ALL:
        return true;
    case SIM_LOSE_ONE:
        return i != choice.request;
    case SIM_KEEP_ONE:
        return i == choice.request;
    case SIM_KEEP_PREFIX:
        return i < choice.request;
    case SIM_KEEP_SUFFIX:
        return i >= choice.request;
    case SIM_TEAR_LAST:
        *tear = i == choice.request;
        return i <= choice.request;
    case SIM_TEAR_ALONE:
    case SIM_TEAR_ALONE_BACK:
        *tear = i == choice.request;
        return i == choice.request;
    default:
        *tear = i == choice.request;
        return true;
    }
}

SimState *sim_cut_state(const SimCut *cut, SimChoice choice)
{
    SimState *state = state_copy(cut->base);
    Tear tear = { .keep = choice.keep, .random = choice.seed };
    unsigned lost = aio_sim_next_random(&tear.random) % 5 * 25, i = 0;
    bool torn;

    tear.lost = aio_sim_next_random(&tear.random) % 2 ? 0 : aio_sim_next_random(&tear.random) % 100;
    for (unsigned k = 0; k < cut->items->len; k++) {
        const CutItem *item = &g_array_index(cut->items, CutItem, k);
        bool survived = true;

        torn = false;
        if (!item->firm && choice.keep == SIM_KEEP_RANDOM) {
            survived = aio_sim_next_random(&tear.random) % 100 >= lost;
            torn = tear.lost != 0;
        } else if (!item->firm) {
            survived = survives(choice, i, &torn);
        }
        i += !item->firm;
        if (survived) {
            sim_event_apply(item->e, &state->disks[item->disk].bytes, sector_size(cut, item),
                            torn ? keep_sector : NULL, &tear);
        }
    }
    return state;
}

/* --- choices as text --- */

static const char *const keep_names[] = {
    [SIM_KEEP_NONE] = "none",           [SIM_KEEP_ALL] = "all",
    [SIM_LOSE_ONE] = "lose-one",        [SIM_KEEP_ONE] = "keep-one",
    [SIM_KEEP_PREFIX] = "keep-prefix",  [SIM_KEEP_SUFFIX] = "keep-suffix",
    [SIM_TEAR_FRONT] = "tear-front",    [SIM_TEAR_BACK] = "tear-back",
    [SIM_TEAR_LAST] = "tear-last",      [SIM_TEAR_ODD] = "tear-odd",
    [SIM_TEAR_ALONE] = "tear-alone",    [SIM_TEAR_ALONE_BACK] = "tear-alone-back",
    [SIM_KEEP_RANDOM] = "random",
};

char *sim_choice_to_string(SimChoice choice)
{
    const char *name = keep_names[choice.keep];

    if (choice.keep == SIM_KEEP_RANDOM) {
        return g_strdup_printf("%s:0x%" PRIx64, name, choice.seed);
    }
    return choice.keep <= SIM_KEEP_ALL ? g_strdup(name)
                                       : g_strdup_printf("%s:%u", name, choice.request);
}

bool sim_choice_parse(const char *text, SimChoice *choice, Error **errp)
{
    size_t len = strcspn(text, ":");

    for (int i = 0; i < (int)G_N_ELEMENTS(keep_names); i++) {
        bool number = i > SIM_KEEP_ALL, random = i == SIM_KEEP_RANDOM;
        guint64 value = 0;
        char *end;

        if (strlen(keep_names[i]) != len || strncmp(text, keep_names[i], len) != 0 ||
            number != (text[len] == ':')) {
            continue;
        }
        if (number) {
            const char *digits = text + len + 1;

            value = g_ascii_strtoull(digits, &end, 0);
            if (!g_ascii_isdigit(*digits) || *end || (!random && value > UINT_MAX)) {
                break;
            }
        }
        *choice = (SimChoice){ i, random ? 0 : value, random ? value : 0 };
        return true;
    }
    error_setg(errp, "'%s' is not a choice of what survives a power cut, such as 'none', "
               "'lose-one:3' or 'random:0x1234'", text);
    return false;
}

/* --- live --- */

void sim_power_on(SimPower *power, SimChoice choice)
{
    g_autoptr(SimState) state = NULL;
    SimCut *cut;

    sim_power_cut(power);
    cut = sim_cut_new(power, sim_power_now(power));
    state = sim_cut_state(cut, choice);
    sim_cut_free(cut);
    qemu_mutex_lock(&power->lock);
    put_state(power, state);
    qemu_mutex_unlock(&power->lock);
}
