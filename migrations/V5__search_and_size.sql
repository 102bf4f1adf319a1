-- Finding posts by any part of their title, and how large they are.

-- Trigrams of pg_trgm leave out what has fewer than three letters or digits in a row. What follows serves every text.
-- The index is built first: while it is, posts can be read.

-- Every one, two and three characters that stand in a row, whatever they are, each as one number of 21 bits a code
-- point.
create function grams(characters text) returns bigint[]
language plpgsql immutable strict parallel safe cost 10000
as $$
declare
    character text;
    code bigint;
    one bigint := 0;
    two bigint := 0;
    place integer := 0;
    found bigint[] := '{}';
begin
    foreach character in array string_to_array(characters, null) loop
        code := ascii(character);
        found[place + 1] := code;
        found[place + 2] := one << 21 | code;
        found[place + 3] := two << 21 | code;
        two := one << 21 | code;
        one := code;
        place := place + 3;
    end loop;
    return found;
end
$$;

-- The seconds from 1970 to a time, as far as a stretch can tell them apart.
create function whole_seconds(moment timestamptz) returns bigint
language sql immutable strict parallel safe
return floor(extract(epoch from
    least(greatest(moment, timestamptz '0001-01-01Z'), timestamptz '9999-12-31Z') - timestamptz '1970-01-01Z'))::bigint;

-- The stretches of time that a published post is in: of 256 seconds, of 68 minutes, 18 hours, 12 days and 194 days,
-- each of a level (the power of 16) and a number, and the one that has no end. A draft is in its owner's alone.
create function stretches(is_published boolean, owner_id bigint, seconds bigint) returns bigint[]
language plpgsql immutable strict parallel safe cost 10000
as $$
declare
    level constant bigint := 1::bigint << 48;
begin
    if not is_published then
        return array[-owner_id];
    end if;
    return array[2 * level + (seconds >> 8), 3 * level + (seconds >> 12), 4 * level + (seconds >> 16),
                 5 * level + (seconds >> 20), 6 * level + (seconds >> 24), 0];
end
$$;

-- Without a list of entries that wait to be sorted in (fastupdate): every search would read all of it.
create index posts_search_idx on posts
    using gin (grams(lower(title)), stretches(is_published, owner_id, whole_seconds(created_at))) with (fastupdate = off);
drop index posts_title_idx;

-- The newest posts before a key (null: of all) that a viewer (null: nobody in particular) may see and whose title is
-- ilike the pattern, a text between two percent signs: at most so many published ones and so many drafts. What most
-- titles have is found among the newest 200. Anything else is looked for in the index, in stretches that grow
-- sixteenfold until there is enough: what few titles have costs at most six looks, and what many have no more than
-- what stands in the last stretch. Of long texts there may be others that have the same threes of characters and yet
-- not the text: those are read and left out.
create function find_posts(pattern text, viewer bigint, before timestamptz, before_id bigint, at_most bigint)
returns table (id bigint, created_at timestamptz)
language plpgsql stable
-- One plan is right for all texts.
set plan_cache_mode = force_generic_plan
as $$
declare
    newest constant bigint := 200;
    -- The text is lowered within its pattern, as ilike lowers it: some letters depend on their neighbours.
    lowered constant text := regexp_replace(lower(pattern), '^%|%$|\\([\\%_])', '\1', 'g');
    length constant integer := char_length(lowered);
    wanted bigint[] := grams(lowered);
    missing bigint := at_most;
    walked bigint := 0;
    post record;
    seconds bigint;
    first bigint;
    found bigint;
begin
    before := coalesce(before, 'infinity');
    before_id := coalesce(before_id, 9223372036854775807);
    for post in
        select visible.id, visible.created_at, visible.title ilike pattern as is_match
        from ((select posts.id, posts.created_at, posts.title from posts
               where posts.is_published and (posts.created_at, posts.id) < (before, before_id)
               order by posts.created_at desc, posts.id desc limit newest)
              union all
              (select posts.id, posts.created_at, posts.title from posts
               where not posts.is_published and posts.owner_id = viewer
                 and (posts.created_at, posts.id) < (before, before_id)
               order by posts.created_at desc, posts.id desc limit newest)) as visible
        order by visible.created_at desc, visible.id desc
        limit newest
    loop
        exit when missing <= 0;
        walked := walked + 1;
        if post.is_match then
            id := post.id;
            created_at := post.created_at;
            return next;
            missing := missing - 1;
        end if;
    end loop;
    if missing <= 0 or walked < newest then
        return;
    end if;

    before := post.created_at;
    before_id := post.id;
    -- The longest grams say most. Of a long text eight are enough, evenly spread: more cost more than they leave out.
    wanted := array(
        select wanted[3 * place]
        from generate_series(least(3, length), length, greatest(1, (length + 5) / 8)) as place);
    if viewer is not null then
        return query
            with matches as materialized (
                select posts.id, posts.created_at from posts
                where grams(lower(posts.title)) @> wanted
                  and stretches(posts.is_published, posts.owner_id, whole_seconds(posts.created_at)) @> array[-viewer]
                  and posts.title ilike pattern
                  and (posts.created_at, posts.id) < (before, before_id))
            select * from matches order by matches.created_at desc, matches.id desc limit missing;
    end if;
    seconds := whole_seconds(before);
    for level in 2 .. 7 loop
        -- Of the stretch that the next level has around this moment, what lies before it on this level.
        first := (seconds >> (4 * level + 4)) << 4;
        return query
            with matches as materialized (
                select posts.id, posts.created_at from posts
                where grams(lower(posts.title)) @> wanted
                  and stretches(posts.is_published, posts.owner_id, whole_seconds(posts.created_at)) && case
                      when level = 7 then array[0::bigint]
                      else array(select (level::bigint << 48) + place
                                 from generate_series(first, seconds >> (4 * level)) as place)
                  end
                  and posts.title ilike pattern
                  and (posts.created_at, posts.id) < (before, before_id))
            select * from matches order by matches.created_at desc, matches.id desc limit missing;
        get diagnostics found = row_count;
        missing := missing - found;
        exit when missing <= 0;
        seconds := (first << (4 * level)) - 1;
        before := timestamptz '1970-01-01Z' + (seconds + 1) * interval '1 second';
        before_id := -9223372036854775808;
    end loop;
end
$$;

-- How much of an answer a title and a content take: their bytes as JSON. API Gateway is answered with that JSON as a
-- string of JSON again, which may have 6 MB where the answer itself may have 4 MiB: where that is what ends a page
-- earlier, so many bytes in proportion.
create function answer_bytes(title text, content text) returns bigint
language sql stable strict parallel safe
begin atomic
    select greatest(octet_length(json), ceil(0.7 * octet_length(to_json(json)::text)))::bigint
    from (select to_json(answer_bytes.title || answer_bytes.content)::text as json) as answer;
end;

-- Kept with the post, so that a page is measured without reading it. Null, in posts that were written before this
-- or that a migration moved, is measured when it is read: to fill it in would write the whole table anew.
alter table posts add answer_bytes bigint;

-- Named, since a restore of the rows alone has an empty search path.
create function measure_post() returns trigger
language plpgsql
set search_path = public
as $$
begin
    new.answer_bytes := answer_bytes(new.title, new.content);
    return new;
end
$$;

create trigger posts_measured before insert or update of title, content on posts
    for each row execute function measure_post();
