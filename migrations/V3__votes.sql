-- Who likes what, and how many do.

-- The key is the rule: one vote a user and post.
create table votes (
    user_id bigint not null references users (id) on delete cascade,
    post_id bigint not null references posts (id) on delete cascade,
    primary key (user_id, post_id)
);
-- Deleting a post looks for its votes.
create index votes_post_id_idx on votes (post_id);

-- The number of votes of a post is the sum of its rows here. A post whose voters never meet has one row;
-- a voter who finds every row of the post locked by another opens a new one instead of waiting. So a count
-- costs the reader one row a post, or as many as voters ever met at once (64 at most), never one a vote.
create table vote_counts (
    post_id bigint not null references posts (id) on delete cascade,
    slot smallint not null,
    votes bigint not null,
    primary key (post_id, slot)
) with (fillfactor = 50);

create function count_votes(post_id bigint, change bigint) returns void
language plpgsql
as $$
begin
    update vote_counts
    set votes = vote_counts.votes + count_votes.change
    where ctid = (
        select free.ctid
        from vote_counts free
        where free.post_id = count_votes.post_id
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

-- Once a statement, not once a row: a bulk load then counts each post once. In the order of the posts, so
-- that two such statements cannot wait for each other in a circle.
create function count_added_votes() returns trigger
language plpgsql
as $$
begin
    perform count_votes(counted.post_id, counted.votes)
    from (select post_id, count(*) as votes from added group by post_id order by post_id) counted;
    return null;
end
$$;

-- The votes of a deleted post go with it, and so do its counts: there is nothing left to count down.
create function count_removed_votes() returns trigger
language plpgsql
as $$
begin
    perform count_votes(counted.post_id, -counted.votes)
    from (select post_id, count(*) as votes from removed group by post_id order by post_id) counted
    where exists (select from posts where posts.id = counted.post_id);
    return null;
end
$$;

create function forget_votes() returns trigger
language plpgsql
as $$
begin
    delete from vote_counts;
    return null;
end
$$;

create trigger votes_added after insert on votes
    referencing new table as added
    for each statement execute function count_added_votes();
create trigger votes_removed after delete on votes
    referencing old table as removed
    for each statement execute function count_removed_votes();
create trigger votes_emptied after truncate on votes
    for each statement execute function forget_votes();
