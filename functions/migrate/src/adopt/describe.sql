with found as (
    select oid, relname, relkind, relpersistence, relrowsecurity, relacl, relowner from pg_class
    where relnamespace = 'public'::regnamespace
      and relname not in ('refinery_schema_history', 'refinery_schema_history_pkey')
      and not exists (
          select from pg_depend
          where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e')),
tables as (select * from found where relkind = 'r')
select case when relkind <> 'r' then format('relation %s of kind %s', relname, relkind)
            when relpersistence <> 'p' then format('unlogged table %s', relname)
            else format('table %s', relname) end as line
from found where relkind not in ('i', 'I', 'S', 't')
union all
select format('column %s.%s %s', relname, attname, concat_ws(' ',
    format_type(atttypid, atttypmod),
    case when attcollation <> typcollation then 'collate ' || attcollation::regcollation end,
    case when attnotnull then 'not null' end,
    case when attidentity <> '' then 'identity' end,
    case when attgenerated <> '' then 'generated' end,
    'default ' || pg_get_expr(adbin, adrelid)))
from tables
join pg_attribute on attrelid = tables.oid and attnum > 0 and not attisdropped
join pg_type on pg_type.oid = atttypid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
union all
select format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(pg_constraint.oid))
from pg_constraint
where contype <> 'n' and (conrelid in (select oid from tables) or confrelid in (select oid from tables))
union all
select concat_ws(' ', 'index', indexrelid::regclass::text, 'on', relname || ':', pg_get_indexdef(indexrelid),
    case when not indisvalid then '(invalid)' end)
from tables join pg_index on indrelid = tables.oid
where not exists (select from pg_constraint where conindid = indexrelid and conrelid = indrelid)
union all
select concat_ws(' ', 'sequence', relname, 'of ' || (
    select refobjid::regclass || '.' || attname
    from pg_depend join pg_attribute on attrelid = refobjid and attnum = refobjsubid
    where classid = 'pg_class'::regclass and objid = found.oid and deptype in ('a','i') and refclassid = 'pg_class'::regclass))
from found where relkind = 'S'
union all
select format('trigger %s on %s', tgname, relname) from tables join pg_trigger on tgrelid = tables.oid where not tgisinternal
union all
select format('rule %s on %s', rulename, relname) from tables join pg_rewrite on ev_class = tables.oid
union all
select format('policy %s on %s', polname, relname) from tables join pg_policy on polrelid = tables.oid
union all
select format('row security on %s', relname) from tables where relrowsecurity
union all
select format('statistics %s on %s', stxname, relname) from tables join pg_statistic_ext on stxrelid = tables.oid
union all
select format('publication %s of %s', pubname, relname)
from tables join pg_publication_rel on prrelid = tables.oid join pg_publication on pg_publication.oid = prpubid
union all
select format('inheritance between %s and %s', inhparent::regclass, inhrelid::regclass) from pg_inherits
where inhparent in (select oid from tables) or inhrelid in (select oid from tables)
union all
select distinct format('view %s on %s', ev_class::regclass, relname)
from tables
join pg_depend on refclassid = 'pg_class'::regclass and refobjid = tables.oid and classid = 'pg_rewrite'::regclass
join pg_rewrite on pg_rewrite.oid = objid and ev_class <> tables.oid
union all
select format('function %s', pg_proc.oid::regprocedure) from pg_proc
where not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e')
  and (pronamespace = 'public'::regnamespace
       or exists (
           select from pg_depend
           where classid = 'pg_proc'::regclass and objid = pg_proc.oid
             and (refclassid = 'pg_class'::regclass and refobjid in (select oid from tables)
                  or refclassid = 'pg_type'::regclass and refobjid in (
                      select pg_type.oid from pg_type join tables on typrelid = tables.oid))))
union all
select format('type %s', pg_type.oid::regtype) from pg_type
where typnamespace = 'public'::regnamespace and typrelid = 0 and typcategory <> 'A'
  and not exists (select from pg_depend where classid = 'pg_type'::regclass and objid = pg_type.oid and deptype = 'e')
union all
select distinct format('privileges of %s on %s', case when grantee = 0 then 'public' else grantee::regrole::text end, relname)
from (
    select relname, relowner, relacl as acl from found
    union all
    select relname, relowner, attacl from tables join pg_attribute on attrelid = tables.oid) as granted,
    aclexplode(acl)
where grantee <> relowner
order by line
