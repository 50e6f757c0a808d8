/* SPDX-License-Identifier: MIT */
/*
 * What blkdebug does at which event.
 *
 * There is a state, a number, 1 at first. A rule belongs to an event and perhaps to one
 * state. When its event is raised it
 *   inject-error  becomes active, together with the other rules of that event; those that
 *                 were active before cease to be;
 *   set-state     sets the state, once all rules of the event have been looked at;
 *   suspend       (a break point) holds the request, and is gone.
 * A request fails with the error of the first active rule that matches what it does.
 */
#include "blkdebug.h"
#include "qemu/aio.h"

/* Rules of a node at most: each costs at every event. */
#define MAX_RULES 1024

#define IO_TYPE_BIT(type) (1U << (type))

static const char *const io_type_names[BLKDEBUG_IO_TYPES] = {
    [BLKDEBUG_READ] = "read",
    [BLKDEBUG_WRITE] = "write",
    [BLKDEBUG_WRITE_ZEROES] = "write-zeroes",
    [BLKDEBUG_DISCARD] = "discard",
    [BLKDEBUG_FLUSH] = "flush",
    [BLKDEBUG_BLOCK_STATUS] = "block-status",
};

typedef enum RuleAction { INJECT_ERROR, SET_STATE, SUSPEND } RuleAction;

typedef struct Rule {
    RuleAction action;
    BlkdebugEvent event;
    uint64_t state;     /* 0: any */
    uint64_t new_state; /* SET_STATE */
    char *tag;          /* SUSPEND */
    /* INJECT_ERROR */
    unsigned io_types; /* IO_TYPE_BIT()s */
    int error;         /* a positive errno; 0: none, the rule only hides others */
    bool once, immediately;
    int64_t offset;    /* bytes: a request that covers it; -1: any */
} Rule;

/* A request that stands still. On its stack; the tag is its own. */
typedef struct Suspended {
    Coroutine *co;
    char *tag;
} Suspended;

static void rule_free(void *opaque)
{
    Rule *rule = opaque;

    g_free(rule->tag);
    g_free(rule);
}

static Rule *rule_at(const GPtrArray *rules, guint i)
{
    return g_ptr_array_index(rules, i);
}

void blkdebug_rules_init(BlkdebugRules *r)
{
    qemu_mutex_init(&r->lock);
    r->state = 1;
    r->rules = g_ptr_array_new_with_free_func(rule_free);
    r->active = g_ptr_array_new();
    r->suspended = g_ptr_array_new();
}

void blkdebug_rules_destroy(BlkdebugRules *r)
{
    g_assert(r->suspended->len == 0);
    g_ptr_array_free(r->suspended, true);
    g_ptr_array_free(r->active, true);
    g_ptr_array_free(r->rules, true);
    qemu_mutex_destroy(&r->lock);
}

/* Under lock, or before the first request. */
static void remove_rule(BlkdebugRules *r, Rule *rule)
{
    g_ptr_array_remove(r->active, rule);
    g_ptr_array_remove(r->rules, rule);
}

/* --- from options --- */

static int take_event(BlockOptions *keys, Rule *rule, Error **errp)
{
    g_autofree char *name = blk_options_take(keys, "event");

    if (!name) {
        error_setg(errp, "Missing event name for rule");
        return -EINVAL;
    }
    rule->event = blkdebug_event_parse(name);
    if (rule->event == BLKDBG__MAX) {
        error_setg(errp, "invalid parameter value: %s", name);
        return -EINVAL;
    }
    return blk_options_take_number(keys, "state", &rule->state, errp);
}

static int take_io_type(BlockOptions *keys, Rule *rule, Error **errp)
{
    g_autofree char *name = blk_options_take(keys, "iotype");

    /* Not block status, which no guest asks for. */
    rule->io_types = IO_TYPE_BIT(BLKDEBUG_BLOCK_STATUS) - 1;
    if (!name) {
        return 0;
    }
    for (unsigned i = 0; i < BLKDEBUG_IO_TYPES; i++) {
        if (!strcmp(name, io_type_names[i])) {
            rule->io_types = IO_TYPE_BIT(i);
            return 0;
        }
    }
    error_setg(errp, "invalid parameter value: %s", name);
    return -EINVAL;
}

static int take_sector(BlockOptions *keys, Rule *rule, Error **errp)
{
    uint64_t sector = 0;
    int ret;

    rule->offset = -1;
    if (!g_strcmp0(blk_options_get(keys, "sector"), "-1")) {
        blk_options_del(keys, "sector");
        return 0;
    }
    ret = blk_options_take_number(keys, "sector", &sector, errp);
    if (ret <= 0) {
        return ret;
    }
    if (sector > INT64_MAX >> BDRV_SECTOR_BITS) {
        error_setg(errp, "Sector %" PRIu64 " is beyond what an image can have", sector);
        return -EINVAL;
    }
    rule->offset = sector << BDRV_SECTOR_BITS;
    return 0;
}

static int take_error(BlockOptions *keys, Rule *rule, Error **errp)
{
    uint64_t number = EIO;

    if (blk_options_take_number(keys, "errno", &number, errp) < 0 ||
        blk_options_take_bool(keys, "once", &rule->once, errp) < 0 ||
        blk_options_take_bool(keys, "immediately", &rule->immediately, errp) < 0 ||
        take_io_type(keys, rule, errp) < 0 || take_sector(keys, rule, errp) < 0) {
        return -EINVAL;
    }
    if (number > 4095) {
        error_setg(errp, "There is no errno %" PRIu64, number);
        return -EINVAL;
    }
    rule->error = number;
    return 0;
}

/* Takes from @keys what a rule of this section has. */
static int add_rule(BlkdebugRules *r, const char *section, BlockOptions *keys,
                    Error **errp)
{
    Rule *rule = g_new0(Rule, 1);
    int ret;

    rule->action = strcmp(section, "set-state") ? INJECT_ERROR : SET_STATE;
    ret = take_event(keys, rule, errp);
    if (ret >= 0) {
        ret = rule->action == SET_STATE
                  ? blk_options_take_number(keys, "new_state", &rule->new_state, errp)
                  : take_error(keys, rule, errp);
    }
    if (ret >= 0 && r->rules->len >= MAX_RULES) {
        error_setg(errp, "More than %d rules", MAX_RULES);
        ret = -EINVAL;
    }
    if (ret < 0) {
        rule_free(rule);
        return ret;
    }
    g_ptr_array_add(r->rules, rule);
    return 0;
}

static bool is_key_of(const char *section, const char *key)
{
    static const char *const keys_of_set_state[] = { "event", "state", "new_state", NULL };
    static const char *const keys_of_inject_error[] = { "event",  "state", "iotype",
                                                        "errno",  "sector", "once",
                                                        "immediately", NULL };

    return g_strv_contains(strcmp(section, "set-state") ? keys_of_inject_error
                                                        : keys_of_set_state,
                           key);
}

/* A key that no rule of its section has; NULL: there is none. */
static const char *strange_key(const char *section, const BlockOptions *keys)
{
    const char *key;

    for (size_t i = 0; (key = blk_options_key(keys, i)); i++) {
        if (!is_key_of(section, key)) {
            break;
        }
    }
    return key;
}

int blkdebug_rules_from_file(BlkdebugRules *r, const char *filename, Error **errp)
{
    int ret = 0;
    g_autoptr(GPtrArray) sections = blkdebug_read_config(filename, &ret, errp);

    for (guint i = 0; ret == 0 && i < sections->len; i++) {
        const BlkdebugSection *section = g_ptr_array_index(sections, i);
        const char *strange = strange_key(section->name, section->keys);

        if (strange) {
            error_setg(errp, "Invalid parameter '%s'", strange);
            return -EINVAL;
        }
        ret = add_rule(r, section->name, section->keys, errp);
    }
    return ret;
}

/* "inject-error.event": one rule without a number. */
static int rule_without_index(BlkdebugRules *r, const char *section, BlockOptions *all,
                              Error **errp)
{
    const char *strange = strange_key(section, all);

    if (strange) {
        error_setg(errp, "Unknown option '%s' for [%s]", strange, section);
        return -EINVAL;
    }
    return add_rule(r, section, all, errp);
}

/* Keys of a rule, rather than numbers of rules. */
static bool is_one_rule(const char *section, const BlockOptions *all)
{
    const char *key;

    for (size_t i = 0; (key = blk_options_key(all, i)); i++) {
        if (is_key_of(section, key)) {
            return true;
        }
    }
    return false;
}

static int section_from_options(BlkdebugRules *r, const char *section,
                                BlockOptions *options, Error **errp)
{
    g_autoptr(BlockOptions) all = blk_options_extract(options, section);

    if (is_one_rule(section, all)) {
        return rule_without_index(r, section, all, errp);
    }
    for (unsigned i = 0; blk_options_count(all); i++) {
        g_autofree char *index = g_strdup_printf("%u", i);
        g_autoptr(BlockOptions) keys = blk_options_extract(all, index);
        const char *strange = strange_key(section, keys);

        if (blk_options_get(all, index)) {
            error_setg(errp, "[%s] section (index %u) does not consist of keys", section,
                       i);
            return -EINVAL;
        }
        if (!blk_options_count(keys)) {
            error_setg(errp, "Unused option '%s' for [%s]", blk_options_key(all, 0),
                       section);
            return -EINVAL;
        }
        if (strange) {
            error_setg(errp, "[%s] section doesn't support the option '%s'", section,
                       strange);
            return -EINVAL;
        }
        if (add_rule(r, section, keys, errp) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

int blkdebug_rules_from_options(BlkdebugRules *r, BlockOptions *options, Error **errp)
{
    int ret = section_from_options(r, "inject-error", options, errp);

    return ret < 0 ? ret : section_from_options(r, "set-state", options, errp);
}

/* --- what happens --- */

/* Turns the break point @rule into a request that stands still; yields. */
static void coroutine_fn suspend_at(BlkdebugRules *r, Suspended *self)
{
    printf("blkdebug: Suspended request '%s'\n", self->tag);
    /* Who resumes us took us off the list; from another thread it schedules us here. */
    qemu_coroutine_yield();
    printf("blkdebug: Resuming request '%s'\n", self->tag);
    g_free(self->tag);
}

/* Under lock: the latest break point of @event, made into an entry of the list. */
static bool take_break_point(BlkdebugRules *r, BlkdebugEvent event, Suspended *self)
{
    /* While an image is opened nothing runs in a coroutine that could be held. */
    for (guint i = qemu_in_coroutine() ? r->rules->len : 0; i-- > 0;) {
        Rule *rule = rule_at(r->rules, i);

        if (rule->event == event && rule->action == SUSPEND) {
            self->co = qemu_coroutine_self();
            self->tag = g_steal_pointer(&rule->tag);
            remove_rule(r, rule);
            g_ptr_array_insert(r->suspended, 0, self);
            return true;
        }
    }
    return false;
}

/* Under lock. */
static void apply_rules(BlkdebugRules *r, BlkdebugEvent event)
{
    uint64_t new_state = r->state;
    bool fresh = false;

    /* Backwards: of several new states the first one given wins. */
    for (guint i = r->rules->len; i-- > 0;) {
        Rule *rule = rule_at(r->rules, i);

        if (rule->event != event || (rule->state && rule->state != r->state)) {
            continue;
        }
        if (rule->action == SET_STATE) {
            new_state = rule->new_state;
        } else if (rule->action == INJECT_ERROR) {
            if (!fresh) {
                g_ptr_array_set_size(r->active, 0);
                fresh = true;
            }
            g_ptr_array_insert(r->active, 0, rule);
        }
    }
    r->state = new_state;
}

void coroutine_fn blkdebug_rules_event(BlkdebugRules *r, BlkdebugEvent event)
{
    Suspended self;
    bool stop;

    qemu_mutex_lock(&r->lock);
    apply_rules(r, event);
    stop = take_break_point(r, event, &self);
    qemu_mutex_unlock(&r->lock);
    while (stop) {
        suspend_at(r, &self);
        qemu_mutex_lock(&r->lock);
        stop = take_break_point(r, event, &self);
        qemu_mutex_unlock(&r->lock);
    }
}

static bool rule_matches(const Rule *rule, BlkdebugIOType type, int64_t offset,
                         int64_t bytes)
{
    return (rule->io_types & IO_TYPE_BIT(type)) &&
           (rule->offset == -1 ||
            (rule->offset >= offset && rule->offset - offset < bytes));
}

int coroutine_fn blkdebug_rules_check(BlkdebugRules *r, BlkdebugIOType type,
                                      int64_t offset, int64_t bytes)
{
    bool immediately = true;
    int error = 0;

    qemu_mutex_lock(&r->lock);
    for (guint i = 0; i < r->active->len; i++) {
        Rule *rule = rule_at(r->active, i);

        if (rule_matches(rule, type, offset, bytes)) {
            error = rule->error;
            immediately = rule->immediately;
            if (error && rule->once) {
                remove_rule(r, rule);
            }
            break;
        }
    }
    qemu_mutex_unlock(&r->lock);
    if (error && !immediately) {
        /* As a disk would: later. */
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
    }
    return -error;
}

/* --- break points --- */

int blkdebug_rules_break(BlkdebugRules *r, const char *event, const char *tag)
{
    BlkdebugEvent e = blkdebug_event_parse(event);
    Rule *rule;

    if (e == BLKDBG__MAX) {
        return -ENOENT;
    }
    rule = g_new0(Rule, 1);
    rule->action = SUSPEND;
    rule->event = e;
    rule->tag = g_strdup(tag);
    qemu_mutex_lock(&r->lock);
    g_ptr_array_add(r->rules, rule);
    qemu_mutex_unlock(&r->lock);
    return 0;
}

/* Under lock: takes the latest request of this tag off the list; NULL: none. */
static Coroutine *take_suspended(BlkdebugRules *r, const char *tag)
{
    for (guint i = 0; i < r->suspended->len; i++) {
        const Suspended *s = g_ptr_array_index(r->suspended, i);

        if (!strcmp(s->tag, tag)) {
            Coroutine *co = s->co;

            g_ptr_array_remove_index(r->suspended, i);
            return co;
        }
    }
    return NULL;
}

int blkdebug_rules_resume(BlkdebugRules *r, const char *tag)
{
    Coroutine *co;

    qemu_mutex_lock(&r->lock);
    co = take_suspended(r, tag);
    qemu_mutex_unlock(&r->lock);
    if (!co) {
        return -ENOENT;
    }
    aio_co_wake(co);
    return 0;
}

int blkdebug_rules_remove_break(BlkdebugRules *r, const char *tag)
{
    int ret = -ENOENT;

    qemu_mutex_lock(&r->lock);
    for (guint i = r->rules->len; i-- > 0;) {
        Rule *rule = rule_at(r->rules, i);

        if (rule->action == SUSPEND && !strcmp(rule->tag, tag)) {
            remove_rule(r, rule);
            ret = 0;
        }
    }
    qemu_mutex_unlock(&r->lock);
    /* The rule of a request that stopped is gone by then: that alone is no success, for QEMU. */
    while (blkdebug_rules_resume(r, tag) == 0) {
        ;
    }
    return ret;
}

bool blkdebug_rules_is_suspended(BlkdebugRules *r, const char *tag)
{
    bool found = false;

    qemu_mutex_lock(&r->lock);
    for (guint i = 0; i < r->suspended->len && !found; i++) {
        const Suspended *s = g_ptr_array_index(r->suspended, i);

        found = !strcmp(s->tag, tag);
    }
    qemu_mutex_unlock(&r->lock);
    return found;
}
