/* SPDX-License-Identifier: MIT */
/*
 * Read-copy-update: readers never wait; who replaces something frees the old one after
 * every reader that may still see it has left.
 *
 *     reader                                  writer (one at a time, by some lock)
 *     rcu_read_lock();                        old = global;
 *     p = qatomic_rcu_read(&global);          qatomic_rcu_set(&global, new);
 *     ... use p ...                           call_rcu(old, free_foo, rcu);
 *     rcu_read_unlock();
 *
 * A read section belongs to a thread, not to a coroutine: do not yield inside.
 */
#ifndef QEMU_RCU_H
#define QEMU_RCU_H

#include <glib.h>

#include "qemu/atomic.h"
#include "qemu/compiler.h"

typedef struct rcu_head rcu_head;
typedef void RCUCBFunc(struct rcu_head *head);

/* First member of what call_rcu frees. */
struct rcu_head {
    struct rcu_head *next;
    RCUCBFunc *func;
};

G_BEGIN_DECLS
#pragma GCC visibility push(default)

/* Sections nest. Any thread; a thread is registered at its first section. */
void rcu_read_lock(void);
void rcu_read_unlock(void);

/*
 * Returns when all sections that ran at the call have ended. Blocks the thread; not
 * inside a section.
 */
void synchronize_rcu(void);

/*
 * Call func(head) in a thread of RCU's own, after all sections that run now have ended,
 * in the order of the calls. Any thread, also inside a section.
 */
void call_rcu1(struct rcu_head *head, RCUCBFunc *func);

/* Wait until the callbacks given before have returned. Not inside a section. */
void drain_call_rcu(void);

/* Registration happens by itself; these two are for who wants to choose the moment. */
void rcu_register_thread(void);
void rcu_unregister_thread(void);

#pragma GCC visibility pop

/* Free the memory of ptr, whose member field is a struct rcu_head at its beginning. */
static inline void rcu_g_free_(struct rcu_head *head)
{
    g_free(head);
}

/* What func has to look like, and that the head comes first, is checked here. */
#define call_rcu(ptr, func, field)                                                       \
    call_rcu1((__extension__({                                                           \
                  void (*func_check_)(__typeof__(ptr)) = (func);                         \
                  QEMU_BUILD_BUG_MSG(offsetof(__typeof__(*(ptr)), field) != 0,           \
                                     "struct rcu_head has to come first");               \
                  (void)func_check_;                                                     \
                  &(ptr)->field;                                                         \
              })),                                                                       \
              (RCUCBFunc *)(void (*)(void))(func))

#define g_free_rcu(ptr, field)                                                           \
    call_rcu1((__extension__({                                                           \
                  QEMU_BUILD_BUG_MSG(offsetof(__typeof__(*(ptr)), field) != 0,           \
                                     "struct rcu_head has to come first");               \
                  &(ptr)->field;                                                         \
              })),                                                                       \
              rcu_g_free_)

/* Guards: the section lasts to the end of the scope, or of the block. */
typedef void RCUReadAuto;

static inline RCUReadAuto *rcu_read_auto_lock(void)
{
    rcu_read_lock();
    return (RCUReadAuto *)(uintptr_t)1;
}

static inline void rcu_read_auto_unlock(RCUReadAuto *section G_GNUC_UNUSED)
{
    rcu_read_unlock();
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(RCUReadAuto, rcu_read_auto_unlock)

G_END_DECLS

#define RCU_READ_LOCK_GUARD()                                                            \
    g_autoptr(RCUReadAuto) MAKE_IDENTIFIER(rcu_read_guard_) G_GNUC_UNUSED =              \
        rcu_read_auto_lock()

#define WITH_RCU_READ_LOCK_GUARD_(guard)                                                 \
    for (g_autoptr(RCUReadAuto) guard = rcu_read_auto_lock(); guard;                     \
         rcu_read_auto_unlock(guard), guard = NULL)
#define WITH_RCU_READ_LOCK_GUARD() \
    WITH_RCU_READ_LOCK_GUARD_(MAKE_IDENTIFIER(rcu_read_guard_))

#endif
