{#
  One SELECT, streamed to one Parquet file at a path of the run, `MLOPS_DBT_OUTPUT`.

  dbt-duckdb's own `external` first makes a table of all rows, which takes as much memory as they need, and
  writes a row of NULLs where there is none. The paths are read here, when the model runs: dbt parses the
  whole project anew if a variable has changed that its YAML names.
#}

{% materialization staged_parquet, adapter="duckdb" %}
    {%- set location = env_var("MLOPS_DBT_OUTPUT") | replace("'", "''") -%}
    {%- set pattern = location | replace("[", "[[]") | replace("*", "[*]") | replace("?", "[?]") -%}
    {%- set spill = env_var("MLOPS_DBT_SCRATCH", "target/spill") | replace("'", "''") -%}
    {%- set relation = this.incorporate(type="view") -%}
    {% call statement("spill") -%}
        set temp_directory = '{{ spill }}'
    {%- endcall %}
    {% call statement("main") -%}
        copy ({{ compiled_code }}) to '{{ location }}' (format parquet, compression zstd)
    {%- endcall %}
    {% call statement("view") -%}
        create or replace view {{ relation }} as select * from read_parquet('{{ pattern }}')
    {%- endcall %}
    {% do adapter.commit() %}
    {{ return({"relations": [relation]}) }}
{% endmaterialization %}
