{#
  One SELECT, streamed to one Parquet file at a path of the run, `MLOPS_DBT_OUTPUT`.

  dbt-duckdb's own `external` first makes a table of all rows, which takes as much memory as they need, and
  writes a row of NULLs where there is none. The paths are read here, when the model runs: where a variable
  has changed that its YAML names, dbt parses anew what names it. So the source of every use case is a view,
  `input_rows`, that is made here, too.
#}

{# A file that is there: quotes, brackets and stars stand for themselves. #}
{% macro file_relation(path) -%}
    {%- set escaped = path | replace("'", "''") | replace("[", "[[]") | replace("*", "[*]") | replace("?", "[?]") -%}
    read_parquet('{{ escaped }}')
{%- endmacro %}

{% materialization staged_parquet, adapter="duckdb" %}
    {%- set location = env_var("MLOPS_DBT_OUTPUT") | replace("'", "''") -%}
    {%- set spill = env_var("MLOPS_DBT_SCRATCH", "target/spill") | replace("'", "''") -%}
    {%- set relation = this.incorporate(type="view") -%}
    {% call statement("spill") -%}
        set temp_directory = '{{ spill }}'
    {%- endcall %}
    {% call statement("input") -%}
        create or replace view input_rows as select * from {{ file_relation(env_var("MLOPS_DBT_INPUT")) }}
    {%- endcall %}
    {% call statement("main") -%}
        copy ({{ compiled_code }}) to '{{ location }}' (format parquet, compression zstd)
    {%- endcall %}
    {% call statement("view") -%}
        create or replace view {{ relation }} as select * from {{ file_relation(env_var("MLOPS_DBT_OUTPUT")) }}
    {%- endcall %}
    {% do adapter.commit() %}
    {{ return({"relations": [relation]}) }}
{% endmaterialization %}
