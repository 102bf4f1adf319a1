-- How often somebody may try. These tables cost nothing to lose: they are not logged, and empty after a crash.

-- One row for whatever is counted: an address, a source, or both, as a digest. A window begins with the first
-- attempt and ends whatever else is tried.
create unlogged table attempts (
    bucket bytea primary key,
    attempts integer not null,
    window_ends_at timestamptz not null
);
create index attempts_window_ends_at_idx on attempts (window_ends_at);

-- The sources from which an address logged in, both in one digest.
create unlogged table known_sources (
    bucket bytea primary key,
    last_login_at timestamptz not null
);
create index known_sources_last_login_at_idx on known_sources (last_login_at);

-- Counts one attempt and says for how many seconds no more is allowed: 0 while there were at most so many.
-- The upsert is atomic: of attempts at once each gets a number of its own.
create function count_attempt(bucket bytea, at_most integer, lasts interval) returns integer
language plpgsql
as $$
declare
    counted attempts;
begin
    insert into attempts (bucket, attempts, window_ends_at)
    values (count_attempt.bucket, 1, now() + lasts)
    on conflict on constraint attempts_pkey do update
    set attempts = case when attempts.window_ends_at > now() then attempts.attempts + 1 else 1 end,
        window_ends_at = case when attempts.window_ends_at > now() then attempts.window_ends_at
                              else excluded.window_ends_at end
    returning * into counted;
    if counted.attempts <= at_most then
        return 0;
    end if;
    -- By the clock of this moment: whoever began the window may have come after this statement's now().
    return greatest(1, ceil(extract(epoch from counted.window_ends_at - clock_timestamp())))::integer;
end
$$;

-- Counts a login before its verdict is known, and says for how many seconds it is refused: past 10 within 15
-- minutes for one address from one source, 100 for one source, 100 for one address from everywhere, save from
-- where it logged in during the last 30 days: strangers cannot lock anybody out. An attempt that one limit
-- refuses is not held against the next. The rows are always taken in this order, so that no two logins wait
-- for each other. source is null where the platform names none.
create function count_login(address bytea, source bytea, address_and_source bytea) returns integer
language plpgsql
as $$
declare
    wait integer;
begin
    wait := count_attempt(address_and_source, 10, '15 minutes');
    if wait = 0 and source is not null then
        wait := count_attempt(source, 100, '15 minutes');
    end if;
    if wait = 0 then
        wait := count_attempt(address, 100, '15 minutes');
        if exists (
            select from known_sources
            where bucket = address_and_source and last_login_at > now() - interval '30 days') then
            wait := 0;
        end if;
    end if;
    perform sweep_attempts();
    return wait;
end
$$;

-- Counts a sign-up and says for how many seconds it is refused: past so many within an hour from one source;
-- where none are set as a limit, nothing is counted.
create function count_sign_up(source bytea, at_most integer) returns integer
language plpgsql
as $$
declare
    wait integer;
begin
    if at_most = 0 then
        return 0;
    end if;
    wait := count_attempt(source, at_most, '1 hour');
    perform sweep_attempts();
    return wait;
end
$$;

-- Takes a good login back out of the counts, and remembers where it came from.
create function forgive_login(address bytea, source bytea, address_and_source bytea) returns void
language plpgsql
as $$
begin
    delete from attempts where bucket = address_and_source;
    update attempts set attempts = attempts - 1 where bucket = source and attempts > 0;
    update attempts set attempts = attempts - 1 where bucket = address and attempts > 0;
    insert into known_sources (bucket, last_login_at) values (address_and_source, now())
    on conflict (bucket) do update set last_login_at = excluded.last_login_at;
end
$$;

-- Deletes a few rows whose window is over. Each attempt adds at most three, so none are left behind for long.
create function sweep_attempts() returns void
language sql
begin atomic
    delete from attempts
    where bucket in (
        select bucket from attempts where window_ends_at <= now()
        order by window_ends_at limit 6 for update skip locked);
    delete from known_sources
    where bucket in (
        select bucket from known_sources where last_login_at <= now() - interval '30 days'
        order by last_login_at limit 2 for update skip locked);
end;
