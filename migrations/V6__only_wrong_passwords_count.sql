-- Only a wrong password stays counted. Digests of what could be guessed are keyed, and go with the account. An
-- address without an account takes as long as one that has one.

-- attempts counts those that failed. An attempt whose outcome is not known yet is in flight: it counts until it
-- ends, and stops counting by itself at the time that stands here for it, whatever became of the process.
alter table attempts add column in_flight timestamptz[] not null default '{}';

-- The array without one of the elements that are equal to this one.
create function without_one(elements timestamptz[], element timestamptz) returns timestamptz[]
language sql immutable parallel safe
begin atomic
    select case
        when array_position(elements, element) is null then elements
        else elements[:array_position(elements, element) - 1] || elements[array_position(elements, element) + 1:]
    end;
end;

-- Begins an attempt and says for how many seconds no more is allowed: 0 where this one is, which is then in flight
-- until ends_at. 1 where it is refused only because of others in flight. The upsert is atomic: of attempts at once
-- no more than at_most are in flight or have failed.
create function begin_attempt(bucket bytea, at_most integer, ends_at timestamptz) returns integer
language plpgsql
as $$
declare
    counted attempts;
begin
    insert into attempts (bucket, attempts, window_ends_at, in_flight)
    values (begin_attempt.bucket, 0, begin_attempt.ends_at, array[begin_attempt.ends_at])
    on conflict on constraint attempts_pkey do update
    set attempts = case when attempts.window_ends_at > now() then attempts.attempts else 0 end,
        window_ends_at = case when attempts.window_ends_at > now() then attempts.window_ends_at
                              else excluded.window_ends_at end,
        in_flight = array(select until from unnest(attempts.in_flight) as until where until > clock_timestamp())
                    || begin_attempt.ends_at
    returning * into counted;
    if counted.attempts + cardinality(counted.in_flight) <= at_most then
        return 0;
    end if;
    update attempts set in_flight = without_one(attempts.in_flight, begin_attempt.ends_at)
    where attempts.bucket = begin_attempt.bucket;
    if counted.attempts < at_most then
        return 1;
    end if;
    -- By the clock of this moment: whoever began the window may have come after this statement's now().
    return greatest(1, ceil(extract(epoch from counted.window_ends_at - clock_timestamp())))::integer;
end
$$;

-- Ends an attempt in each of its buckets, in their order. It stays counted for as long as counts_for says, from the
-- first one that is counted; where counts_for is null, it leaves no trace. ends_at is what its beginning said.
create function end_attempt(buckets bytea[], ends_at timestamptz, counts_for interval) returns void
language plpgsql
as $$
declare
    counted bytea;
begin
    foreach counted in array buckets loop
        if counts_for is null then
            update attempts set in_flight = without_one(attempts.in_flight, end_attempt.ends_at)
            where attempts.bucket = counted;
        else
            insert into attempts (bucket, attempts, window_ends_at)
            values (counted, 1, now() + counts_for)
            on conflict on constraint attempts_pkey do update
            set attempts = case when attempts.window_ends_at > now() then attempts.attempts + 1 else 1 end,
                window_ends_at = case when attempts.window_ends_at > now() and attempts.attempts > 0
                                      then attempts.window_ends_at
                                      else excluded.window_ends_at end,
                in_flight = without_one(attempts.in_flight, end_attempt.ends_at);
        end if;
    end loop;
end
$$;

-- Where an account logged in from, by a digest of address and network under a key that is not in the database. It
-- goes with the account. What was there is a digest without a key, and is forgotten.
truncate known_sources;
alter table known_sources
    drop constraint known_sources_pkey,
    add column user_id bigint not null references users (id) on delete cascade,
    add primary key (user_id, bucket);

-- Begins a login before its verdict is known: 10 that failed within 15 minutes for one address from one source, 100
-- for one source, 100 for one address from everywhere, save from where it logged in during the last 30 days:
-- strangers cannot lock anybody out. The buckets are those of address and source, of the source where the platform
-- names one, and of the address, and are always taken in this order, so that no two logins wait for each other.
-- What one limit refuses is not held against the others. known_as are the digests of address and source by every
-- key in use; user_id is null for an address without an account.
create function begin_login(
    buckets bytea[], user_id bigint, known_as bytea[], lasts interval,
    out retry_after integer, out ends_at timestamptz)
language plpgsql
as $$
declare
    most constant integer[] := case cardinality(buckets) when 3 then array[10, 100, 100] else array[10, 100] end;
    last constant integer := cardinality(buckets);
begin
    ends_at := clock_timestamp() + lasts;
    for place in 1 .. last loop
        retry_after := begin_attempt(buckets[place], most[place], ends_at);
        if retry_after > 0 and place = last and exists (
            select from known_sources
            where known_sources.user_id = begin_login.user_id and known_sources.bucket = any (known_as)
              and known_sources.last_login_at > now() - interval '30 days') then
            retry_after := 0;
        end if;
        if retry_after > 0 then
            perform end_attempt(buckets[:place - 1], ends_at, null);
            exit;
        end if;
    end loop;
    perform sweep_attempts();
end
$$;

-- Ends a good login: what failed for this address from this source before is forgotten, and that it logged in from
-- there is remembered.
create function end_good_login(buckets bytea[], ends_at timestamptz, user_id bigint, known_as bytea) returns void
language plpgsql
as $$
begin
    delete from attempts
    where bucket = buckets[1] and without_one(in_flight, end_good_login.ends_at) = '{}';
    if not found then
        update attempts set attempts = 0, in_flight = without_one(in_flight, end_good_login.ends_at)
        where bucket = buckets[1];
    end if;
    perform end_attempt(buckets[2:], end_good_login.ends_at, null);
    insert into known_sources (user_id, bucket, last_login_at)
    values (end_good_login.user_id, known_as, now())
    on conflict on constraint known_sources_pkey do update set last_login_at = excluded.last_login_at;
end
$$;

-- Begins a sign-up: so many an hour from one source.
create function begin_sign_up(
    bucket bytea, at_most integer, lasts interval,
    out retry_after integer, out ends_at timestamptz)
language plpgsql
as $$
begin
    ends_at := clock_timestamp() + lasts;
    retry_after := begin_attempt(bucket, at_most, ends_at);
    perform sweep_attempts();
end
$$;

-- Deletes a few rows whose window is over. Each attempt adds at most three, so none are left behind for long. One
-- with attempts in flight stays, or more of them than allowed would be judged.
create or replace function sweep_attempts() returns void
language sql
begin atomic
    delete from attempts
    where bucket in (
        select bucket from attempts
        where window_ends_at <= now()
          and not exists (select from unnest(in_flight) as until where until > now())
        order by window_ends_at limit 6 for update skip locked);
    delete from known_sources
    where (user_id, bucket) in (
        select user_id, bucket from known_sources where last_login_at <= now() - interval '30 days'
        order by last_login_at limit 2 for update skip locked);
end;

-- The functions of the release before this one call these while a deployment is under way. They know no accounts,
-- so that they neither ask nor say where one logged in from.
create or replace function count_login(address bytea, source bytea, address_and_source bytea) returns integer
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
    end if;
    perform sweep_attempts();
    return wait;
end
$$;

create or replace function forgive_login(address bytea, source bytea, address_and_source bytea) returns void
language plpgsql
as $$
begin
    delete from attempts where bucket = address_and_source;
    update attempts set attempts = attempts - 1 where bucket = source and attempts > 0;
    update attempts set attempts = attempts - 1 where bucket = address and attempts > 0;
end
$$;

-- An address without an account is given the parameters of some account's hash, so that a wrong password takes as
-- long for the one as for the other, whatever mix of hashes there is. Accounts stand on a circle, each at the digest
-- of its id; an address stands at a keyed digest, and is given the next account's. So an address keeps its account
-- while others come and go, and its time changes as that of an account does: when a login replaces the hash.
create index users_stand_in_idx on users (sha256(id::text::bytea));

-- What comes before salt and hash in a stored hash; null where it is no hash of Argon2.
create function stand_in_parameters(place bytea) returns text
language sql stable parallel safe
begin atomic
    select substring(next.password_hash from '^(\$argon2.*)\$[^$]*\$[^$]*$')
    from (
        (select 1 as lap, password_hash from users
         where sha256(id::text::bytea) >= stand_in_parameters.place order by sha256(id::text::bytea) limit 1)
        union all
        (select 2 as lap, password_hash from users order by sha256(id::text::bytea) limit 1)
    ) as next
    order by next.lap
    limit 1;
end;

-- A new password, if the old one is still the one that was verified and the caller's session has not ended while
-- it was; every session but the caller's own ends. The user is locked before the sessions are looked at, so that a
-- login with the old password that is just being answered is seen here, or sees the new password.
create or replace function change_password(user_id bigint, session_id bigint, verified_hash text, new_hash text)
returns boolean
language plpgsql
as $$
begin
    perform from users
    where id = change_password.user_id and password_hash = change_password.verified_hash
    for no key update;
    if not found
       or not exists (select from live_caller(change_password.user_id, change_password.session_id)) then
        return false;
    end if;
    update users set password_hash = change_password.new_hash where id = change_password.user_id;
    delete from sessions
    where sessions.user_id = change_password.user_id
      and sessions.id is distinct from change_password.session_id;
    return true;
end
$$;

-- Deletes an account, on the same terms.
create function delete_account(user_id bigint, session_id bigint, verified_hash text) returns boolean
language plpgsql
as $$
begin
    perform from users
    where id = delete_account.user_id and password_hash = delete_account.verified_hash
    for update;
    if not found
       or not exists (select from live_caller(delete_account.user_id, delete_account.session_id)) then
        return false;
    end if;
    delete from users where id = delete_account.user_id;
    return true;
end
$$;
