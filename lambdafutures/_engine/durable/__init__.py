"""Jobs that outlive their client: what is written down before anything runs, and read back.

::

    session ── chunks ──► intake ── functions, arguments ──► store
                            │ rows                             ▲
                            ▼                                  │
    scheduler ◄─ stored ─ ledger ── log/0, log/1, ... ─────────┤
        │ Send              ▲                                  │
        ▼                   │ rows of attempts                 │
    recording invoker ──────┴── once they are logged ──► the backend's invoker

The log is written ahead: a chunk is sent once its row is in the store, an attempt once its own is.
So whoever reads it back (`reader`) knows what was never sent, what was sent and may still run, and
what is done; `recovery` decides, purely, what becomes of each.
"""
