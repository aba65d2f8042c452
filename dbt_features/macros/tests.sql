{# Generic tests that the use cases share. A test selects the rows that break it. #}

{% test within(model, column_name, minimum, maximum) %}
    {{ config(fail_calc="count(*)") }}
    select {{ column_name }}
    from {{ model }}
    where {{ column_name }} < {{ minimum }} or {{ column_name }} > {{ maximum }}
{% endtest %}

{# Order does not matter to a sum of hashes: two scans, however many rows, where a set difference sorts them. #}
{% test one_row_each(model, source_relation) %}
    with given as (select count(*) as rows, sum(hash(row_id)) as digest from {{ source_relation }}),
    made as (select count(*) as rows, sum(hash(row_id)) as digest from {{ model }})
    select given.rows as rows_given, made.rows as rows_made
    from given cross join made
    where given.rows <> made.rows or given.digest is distinct from made.digest
{% endtest %}

{% test exactly_one_of(model, columns) %}
    select row_id
    from {{ model }}
    where {{ columns | join(" + ") }} <> 1
{% endtest %}
