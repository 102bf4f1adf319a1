-- A post's JSON is a string within the JSON of an answer, so what is escaped is escaped again: of one byte, a quote
-- or a backslash becomes four, a control character that JSON has a letter for three, and any other one seven. Lengths
-- are told without reading the values, and few posts are long enough to be read.
with long as (
    select posts.id::bigint as id, title, content, email,
           octet_length(title)::bigint + octet_length(content) + octet_length(email) as bytes
    from posts join users on users.id = owner_id
    where octet_length(title)::bigint + octet_length(content) + octet_length(email) > $1 / 7),
unanswerable as (
    select id from long
    where case when bytes > $1 then true else (
        select bytes
               + 3 * (bytes - octet_length(translate(text, e'"\\', '')))
               + 2 * (bytes - octet_length(translate(text, e'\b\t\n\f\r', '')))
               + 6 * (bytes - octet_length(translate(text,
                   e'\x01\x02\x03\x04\x05\x06\x07\x0b\x0e\x0f\x10\x11\x12\x13\x14\x15'
                   '\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f', '')))
        from (select title || content || email as text) as whole) > $1 end)
select (select count(*) from unanswerable) as count,
       array(select id from unanswerable order by id limit $2) as ids
