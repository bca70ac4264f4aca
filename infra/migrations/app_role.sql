-- What the application's role works under. index-migrate runs this every time, after the extension is there: a role
-- belongs to the whole server, so no one database's list of applied migrations can say that it is in place.

-- Loads pgvector into this session. Without it hnsw.* are names the server does not know, and only a superuser (which
-- the master user of RDS is not) may store those.
select '[1]'::vector;

-- At role level, so that no statement has to be spent on it per session.
-- relaxed_order makes a filtered search go on until it has enough rows instead of returning few or none.
alter role docuchat_app set hnsw.iterative_scan = 'relaxed_order';
alter role docuchat_app set hnsw.ef_search = '100';
alter role docuchat_app set statement_timeout = '15s';
alter role docuchat_app set idle_in_transaction_session_timeout = '10s';
-- Compiling a plan costs more than any of these statements takes.
alter role docuchat_app set jit = 'off';
