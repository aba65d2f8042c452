{# Generic tests that the use cases share. A test selects the rows that break it. #}

{% test within(model, column_name, minimum, maximum) %}
    {{ config(fail_calc="count(*)") }}
    select {{ column_name }}
    from {{ model }}
    where {{ column_name }} < {{ minimum }} or {{ column_name }} > {{ maximum }}
{% endtest %}

{% test one_row_each(model, source_relation) %}
    select row_id from {{ source_relation }}
    except all
    select row_id from {{ model }}
    union all
    (select row_id from {{ model }} except all select row_id from {{ source_relation }})
{% endtest %}

{% test exactly_one_of(model, columns) %}
    select row_id
    from {{ model }}
    where {{ columns | join(" + ") }} <> 1
{% endtest %}
