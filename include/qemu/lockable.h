/* SPDX-License-Identifier: MIT */
/*
 * A pointer to a lock of any kind, and guards that unlock at the end of a scope.
 *
 *     QEMU_LOCK_GUARD(&s->lock);            until the end of the enclosing scope
 *     WITH_QEMU_LOCK_GUARD(&s->lock) { }    for the block (break leaves it early)
 *
 * The kinds: QemuMutex, QemuRecMutex, QemuSpin, CoMutex, and QemuLockable itself. The
 * functions are inline, so that a guard costs what the lock costs. C only: _Generic.
 */
#ifndef QEMU_LOCKABLE_H
#define QEMU_LOCKABLE_H

#include <glib.h>
#include <stddef.h>

#include "qemu/coroutine-core.h"
#include "qemu/thread.h"

typedef void QemuLockUnlockFunc(void *object);

struct QemuLockable {
    void *object;
    QemuLockUnlockFunc *lock;
    QemuLockUnlockFunc *unlock;
};

G_BEGIN_DECLS

static inline void qemu_lockable_lock(QemuLockable *x)
{
    x->lock(x->object);
}

static inline void qemu_lockable_unlock(QemuLockable *x)
{
    x->unlock(x->object);
}

static inline QemuLockable *qemu_lockable_auto_lock(QemuLockable *x)
{
    qemu_lockable_lock(x);
    return x;
}

static inline void qemu_lockable_auto_unlock(QemuLockable *x)
{
    if (x) {
        qemu_lockable_unlock(x);
    }
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QemuLockable, qemu_lockable_auto_unlock)

static inline void qemu_lockable_mutex_lock(void *object)
{
    qemu_mutex_lock((QemuMutex *)object);
}

static inline void qemu_lockable_mutex_unlock(void *object)
{
    qemu_mutex_unlock((QemuMutex *)object);
}

static inline void qemu_lockable_rec_mutex_lock(void *object)
{
    qemu_rec_mutex_lock((QemuRecMutex *)object);
}

static inline void qemu_lockable_rec_mutex_unlock(void *object)
{
    qemu_rec_mutex_unlock((QemuRecMutex *)object);
}

static inline void qemu_lockable_spin_lock(void *object)
{
    qemu_spin_lock((QemuSpin *)object);
}

static inline void qemu_lockable_spin_unlock(void *object)
{
    qemu_spin_unlock((QemuSpin *)object);
}

static inline void qemu_lockable_co_mutex_lock(void *object)
{
    qemu_co_mutex_lock((CoMutex *)object);
}

static inline void qemu_lockable_co_mutex_unlock(void *object)
{
    qemu_co_mutex_unlock((CoMutex *)object);
}

/* How QEMU_MAKE_LOCKABLE's result comes from what it filled in: */
/* a lock of some kind, or a NULL pointer to one */
static inline QemuLockable *qemu_lockable_made_(QemuLockable *made)
{
    return made->object ? made : NULL;
}

/* a QemuLockable already, which is in the place of the object */
static inline QemuLockable *qemu_lockable_same_(QemuLockable *made)
{
    return (QemuLockable *)made->object;
}

/* the constant NULL */
static inline QemuLockable *qemu_lockable_none_(QemuLockable *made G_GNUC_UNUSED)
{
    return NULL;
}

G_END_DECLS

#if !defined(__cplusplus)

/* One of two values for each kind of lock; what is no lock does not compile. */
#define QEMU_LOCKABLE_FUNC_(x, verb)                                                     \
    _Generic((x),                                                                        \
        QemuMutex *: qemu_lockable_mutex_##verb,                                         \
        QemuRecMutex *: qemu_lockable_rec_mutex_##verb,                                  \
        QemuSpin *: qemu_lockable_spin_##verb,                                           \
        CoMutex *: qemu_lockable_co_mutex_##verb,                                        \
        QemuLockable *: (QemuLockUnlockFunc *)NULL,                                      \
        void *: (QemuLockUnlockFunc *)NULL)

/*
 * A QemuLockable for a pointer to any lock, NULL for NULL. It lives in the enclosing
 * block.
 */
#define QEMU_MAKE_LOCKABLE(x)                                                            \
    _Generic((x),                                                                        \
        QemuLockable *: qemu_lockable_same_,                                             \
        void *: qemu_lockable_none_,                                                     \
        default: qemu_lockable_made_)(&(QemuLockable){                                   \
        .object = (x),                                                                   \
        .lock = QEMU_LOCKABLE_FUNC_(x, lock),                                            \
        .unlock = QEMU_LOCKABLE_FUNC_(x, unlock),                                        \
    })

/* The same where x cannot be NULL. */
#define QEMU_MAKE_LOCKABLE_NONNULL(x)                                                    \
    _Generic((x), QemuLockable *: qemu_lockable_same_, default: qemu_lockable_made_)(    \
        &(QemuLockable){                                                                 \
            .object = (x),                                                               \
            .lock = QEMU_LOCKABLE_FUNC_(x, lock),                                        \
            .unlock = QEMU_LOCKABLE_FUNC_(x, unlock),                                    \
        })

#define QEMU_LOCK_GUARD(x)                                                               \
    g_autoptr(QemuLockable) MAKE_IDENTIFIER(qemu_lock_guard_) G_GNUC_UNUSED =            \
        qemu_lockable_auto_lock(QEMU_MAKE_LOCKABLE_NONNULL((x)))

/* One pass: the guard's scope is the for statement; break and return unlock as well. */
#define WITH_QEMU_LOCK_GUARD_(x, guard)                                                  \
    for (g_autoptr(QemuLockable) guard =                                                 \
             qemu_lockable_auto_lock(QEMU_MAKE_LOCKABLE_NONNULL((x)));                   \
         guard; qemu_lockable_auto_unlock(guard), guard = NULL)
#define WITH_QEMU_LOCK_GUARD(x) \
    WITH_QEMU_LOCK_GUARD_(x, MAKE_IDENTIFIER(qemu_lock_guard_))

#endif

#endif
