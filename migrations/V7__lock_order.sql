-- One lock order, plans that hold for full tables, and a bound for a session.
--
-- Every statement and every trigger locks rows in this order, and rows of one table by their key:
--
--   users, sessions, refresh_tokens, posts, votes, vote_counts, attempts, known_sources
--
-- A foreign key locks the parent when the child is inserted, which is late: a statement that inserts a child, or
-- whose trigger does, locks the parent first (`for key share`). The functions send a statement again that ends in a
-- deadlock all the same, which takes somebody who keeps another order.

-- The order by slot makes the key the way to a free slot. Without it the plan that is made while the table is empty
-- reads the whole table, and is kept while a statement counts thousands of posts.
create or replace function count_votes(post_id bigint, change bigint) returns void
language plpgsql
as $$
begin
    update vote_counts
    set votes = vote_counts.votes + count_votes.change
    where ctid = (
        select free.ctid
        from vote_counts free
        where free.post_id = count_votes.post_id
        order by free.slot
        limit 1
        for no key update skip locked);
    if not found then
        insert into vote_counts (post_id, slot, votes)
        values (count_votes.post_id, pg_backend_pid() % 64, count_votes.change)
        on conflict on constraint vote_counts_pkey
        do update set votes = vote_counts.votes + excluded.votes;
    end if;
end
$$;

-- `offset 0` keeps the look for each post a look by key: a join would be planned as one over all posts.
create or replace function count_removed_votes() returns trigger
language plpgsql
as $$
begin
    perform count_votes(counted.post_id, -counted.votes)
    from (select post_id, count(*) as votes from removed group by post_id order by post_id) counted
    cross join lateral (select from posts where posts.id = counted.post_id offset 0) as remaining;
    return null;
end
$$;

-- An account takes its posts and its votes with it. Both are of posts that others delete or vote for at the same
-- time, so the posts are locked before anything of them is deleted.
create function lock_posts_of_user() returns trigger
language plpgsql
as $$
begin
    perform from (
        select posts.id from posts where posts.owner_id = old.id
        union
        select votes.post_id from votes where votes.user_id = old.id
        order by id) touched
    cross join lateral (select from posts where posts.id = touched.id for no key update) locked;
    return old;
end
$$;

create trigger users_leaving before delete on users
    for each row execute function lock_posts_of_user();

-- How many refreshes led to a token: 0 for the one of the login. A session ends with its 10,000th refresh, so that
-- the spent tokens of one session, which are kept until it ends, are a bounded number of rows to delete.
alter table refresh_tokens add column refreshes integer not null default 0;

-- Sessions of before are counted, and those that are past the bound end now, while no time limit applies.
with counted as (
    select session_id, count(*) as refreshes from refresh_tokens where spent_at is not null group by session_id),
ended as (
    delete from sessions using counted where sessions.id = counted.session_id and counted.refreshes >= 10000)
update refresh_tokens set refreshes = counted.refreshes
from counted
where refresh_tokens.session_id = counted.session_id and refresh_tokens.spent_at is null
  and counted.refreshes < 10000;
