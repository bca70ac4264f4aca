-- The search index: folded full text and vectors of every chunk, kept apart by tenant. All of it can be rebuilt from the
-- artifacts in S3, so a change of shape is a new migration and a re-index, never an edit of this file: index-migrate
-- compares checksums and refuses.
--
-- index-migrate replaces {{dimensions}} with the length of the deployment's embedding vectors. It has made schema app,
-- the extension and the role docuchat_app before it comes here.

-- What the vectors were made with. One model and one length per database: vectors of two models cannot be compared.
create table app.settings (
  only_row    boolean primary key default true check (only_row),
  embed_model text not null,
  dimensions  int  not null
);

-- Folding, so that spellings which readers take for the same are the same to the index: Unicode compatibility forms,
-- Arabic and Persian letters and digits, vowel marks, the zero-width non-joiner, letter case.
-- docuchat_text::fold does the same in Rust; shared/text/golden/fold.tsv tests both.
create function app.fold(t text) returns text
language sql immutable parallel safe strict as $$
  select lower(regexp_replace(translate(normalize(t, NFKC),
    U&'\064A\0649\0643\0629\06C0\06C2\0622\0623\0625\0624\0626\06F0\06F1\06F2\06F3\06F4\06F5\06F6\06F7\06F8\06F9\0660\0661\0662\0663\0664\0665\0666\0667\0668\0669\200C\200F\200E',
    U&'\06CC\06CC\06A9\0647\0647\0647\0627\0627\0627\0648\06CC' || '01234567890123456789   '),
    U&'[\064B-\065F\0670\0640]', '', 'g'))
$$;

-- A database whose locale knows only ASCII letters would index no Persian word at all, and say nothing about it.
do $$ begin
  if not to_tsvector('simple', app.fold(U&'\0643\062A\0627\0628 12')) @@ to_tsquery('simple', U&'\06A9\062A\0627\0628') then
    raise exception 'this database cannot tell Persian letters from punctuation: create it with encoding UTF8 and a UTF-8 locale (for instance builtin C.UTF-8)';
  end if;
end $$;

-- The words of a question, any of which may match, at most 32 of them, the longest first because long words are rare
-- ones. Function words are left out: they match nearly every chunk, which costs the ranking far more than it gives. A
-- question made of nothing else keeps them.
create function app.question(t text) returns tsquery
language sql immutable parallel safe strict as $$
  with words as (
    select lexeme, lexeme = any (string_to_array(
      'a about above after again all also am an and any are as at be because been before being below between both but by '
      'can could did do does doing down during each few for from further had has have having he her here hers him his how '
      'i if in into is it its itself just me more most my no nor not now of off on once only or other our ours out over own '
      'same she should so some such than that the their theirs them then there these they this those through to too under '
      'until up us very was we were what when where which while who whom why will with would you your yours '
      || app.fold('از است اگر اما ان انها او ای این اینکه با باید بر برای بعد به بود بودن بوده بودند بین پس تا تر ترین تو چرا چطور چگونه '
      'چند چه چون چیست خود در درباره دو دیگر را روی زیر سپس سه شد شدن شده شما شود طور کجا کدام کرد کردن کرده کسی کند کنند که کی ما '
      'مانند مثل من می نمی نه نیز نیست هر هم همه همین هنوز هیچ و ولی وی ها های هایی هست هستند یا یک یکی '
      'الى الي أن إلى التي الذي ذلك على علي عن عند في فى قد كان كانت كل لا لم لن ما ماذا متى مع من هذا هذه هل هو هي وما'),
      ' ')) as common
    from unnest(to_tsvector('simple', app.fold(t)))
  ), chosen as (
    select lexeme from words
    where not common or not exists (select 1 from words where not common)
    order by length(lexeme) desc, lexeme limit 32
  )
  select string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery from chosen
$$;

-- The tenant of this transaction. Without app.enter there is none, and no row is visible: a custom setting is null in a
-- fresh session and '' after the transaction that set it.
create function app.tenant() returns uuid
language sql stable parallel safe as $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;

create function app.enter(t uuid) returns void
language plpgsql as $$ begin perform set_config('app.tenant_id', t::text, true); end $$;

-- Held to the end of the transaction: writers and erasers of one document take turns, whether or not it has a row yet.
create function app.lock_document(t uuid, d uuid) returns void
language sql volatile as $$ select pg_advisory_xact_lock(hashtextextended(t::text || d::text, 0)) $$;

create table app.documents (
  tenant_id     uuid not null,
  id            uuid not null,
  collection_id uuid,
  title         text not null,
  generation    int  not null,
  chunk_count   int  not null,
  embed_model   text not null,
  indexed_at    timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index documents_collection on app.documents (tenant_id, collection_id) where collection_id is not null;

-- Documents that were deleted: a late index-write of one of them is refused.
create table app.erased (
  tenant_id   uuid not null,
  document_id uuid not null,
  erased_at   timestamptz not null default now(),
  primary key (tenant_id, document_id)
);

create table app.chunks (
  tenant_id   uuid not null,
  document_id uuid not null,
  generation  int  not null,
  ordinal     int  not null,
  page_start  int  not null,
  page_end    int  not null,
  page_breaks int[] not null,  -- where in content, in characters, each page after page_start begins
  char_start  int  not null,
  char_end    int  not null,
  token_count int  not null,
  content     text not null,
  tsv         tsvector generated always as (to_tsvector('simple', app.fold(content))) stored,
  embedding   halfvec({{dimensions}}) not null,
  primary key (tenant_id, document_id, generation, ordinal),
  foreign key (tenant_id, document_id) references app.documents (tenant_id, id) on delete cascade
) partition by hash (tenant_id);
-- Vectors stay inside the row: an exact scan then reads one table instead of two.
alter table app.chunks alter embedding set storage plain;

-- A graph per partition, not one for all: the smaller the share of other tenants in a graph, the less of it a filtered
-- search walks in vain.
do $$ begin
  for i in 0..15 loop
    execute format('create table app.chunks_p%s partition of app.chunks for values with (modulus 16, remainder %s)',
      to_char(i, 'FM00'), i);
  end loop;
end $$;
create index chunks_hnsw on app.chunks using hnsw (embedding halfvec_cosine_ops) with (m = 16, ef_construction = 64);
-- Without fastupdate a search never has to read through a list of postings that are not in the index yet.
create index chunks_tsv on app.chunks using gin (tsv) with (fastupdate = off);

-- The second lock behind the explicit WHERE of every statement. No grant on the partitions: reading one directly would
-- go round the parent's policy.
alter table app.documents enable row level security;
alter table app.chunks    enable row level security;
alter table app.erased    enable row level security;
create policy tenant_isolation on app.documents using (tenant_id = app.tenant()) with check (tenant_id = app.tenant());
create policy tenant_isolation on app.chunks    using (tenant_id = app.tenant()) with check (tenant_id = app.tenant());
create policy tenant_isolation on app.erased    using (tenant_id = app.tenant()) with check (tenant_id = app.tenant());

-- The full-text half of a search. It runs as the owner, because PostgreSQL may not look into the GIN index under a row
-- policy (@@ is not leakproof) and would read every chunk of the tenant. So it carries the policy itself: only the tenant
-- of this transaction is answered. `chosen` null means all documents. Dynamic SQL, so that each call is planned for its
-- own tenant and words.
-- Ranking has to fetch each match's tsvector from the TOAST table, a hundred times the cost of finding the match. So no
-- more than 2000 matches are ranked, which words found in most chunks exceed (the vector half does not depend on it),
-- and a sequential scan, which would fetch it to test for a match, is never taken.
create function app.text_hits(t uuid, question tsquery, chosen uuid[], most int)
returns table (document_id uuid, generation int, ordinal int, r bigint)
language plpgsql stable security definer rows 40 set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  if t is distinct from app.tenant() then
    raise exception 'app.text_hits: % is not the tenant of this transaction', t using errcode = 'insufficient_privilege';
  end if;
  return query execute format('
    select y.document_id, y.generation, y.ordinal, row_number() over (order by y.rank desc, y.document_id, y.ordinal)
    from (
      select x.document_id, x.generation, x.ordinal, ts_rank_cd(x.tsv, $2) as rank
      from (select c.document_id, c.generation, c.ordinal, c.tsv from app.chunks c
            where c.tenant_id = $1 and c.tsv @@ $2 %s limit 2000) x
      order by rank desc, x.document_id, x.ordinal limit $4) y',
    case when chosen is null then '' else 'and c.document_id = any ($3)' end)
  using t, question, chosen, most;
end $$;

revoke execute on all functions in schema app from public;
grant usage on schema app to docuchat_app;
grant select, insert, update, delete on app.documents, app.chunks to docuchat_app;
grant select, insert on app.erased to docuchat_app;
grant select on app.settings, app.schema_migrations to docuchat_app;
grant execute on all functions in schema app to docuchat_app;
