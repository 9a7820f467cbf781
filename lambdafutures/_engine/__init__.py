"""The engine: what happens between `submit` and a future's result.

::

    user thread            event-loop thread (portal)                        worker
    -----------            --------------------------                        ------
    packing ── chunks ──►  session ──► scheduler (pure: events in, commands out)
                             ▲            │ Send
                             │            ▼
                             │         dispatcher ── payload ──► invoker ──► runner
                             │                                                  │
    future.result()  ◄── settle ◄──────── outcome ◄── invoker ◄─────────────────┘
    (unpacks)                │
    callbacks thread  ◄──────┘ done-callbacks, observers

Pure (no I/O, time passed in): `scheduler`, `retrying`, `chunking`. User code runs in the user's
threads (pickling in `packing`, unpickling in the futures) and in `callbacks`, never on the loop.
"""
