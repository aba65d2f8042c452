-- One row in, one row out: serving runs this very SELECT on a request.
select
    row_id,

    -- who
    age::float as age,
    (age is null)::float as age_unrecorded,
    household_size::float as household_size,
    (region = 'north')::float as region_north,
    (region = 'east')::float as region_east,
    (region = 'south')::float as region_south,
    (region = 'west')::float as region_west,

    -- how long, and how bound
    tenure_months::float as tenure_months,
    exp(-tenure_months / 12.0)::float as newcomer,
    (tenure_months < 6)::float as tenure_under_6,
    (tenure_months >= 6 and tenure_months < 24)::float as tenure_6_to_23,
    (tenure_months >= 24 and tenure_months < 48)::float as tenure_24_to_47,
    (tenure_months >= 48)::float as tenure_48_and_over,
    (contract_type = 'month_to_month')::float as contract_month_to_month,
    (contract_type = 'one_year')::float as contract_one_year,
    (contract_type = 'two_year')::float as contract_two_year,

    -- what is bought
    (internet_service = 'none')::float as internet_none,
    (internet_service = 'dsl')::float as internet_dsl,
    (internet_service = 'fibre')::float as internet_fibre,
    phone_lines::float as phone_lines,
    security_addon::float as security_addon,
    streaming_addon::float as streaming_addon,
    (internet_service = 'fibre' and not security_addon)::float as fibre_without_security,
    (
        (internet_service <> 'none')::integer + phone_lines
        + security_addon::integer + streaming_addon::integer
    )::float as services,

    -- what is paid for it, and what the price list would ask
    monthly_charge::float as monthly_charge,
    discount_percent::float as discount_percent,
    (
        5 + 12 * phone_lines + 6 * security_addon::integer + 10 * streaming_addon::integer
        + case internet_service when 'dsl' then 30 when 'fibre' then 50 else 0 end
    )::float as expected_bill,
    (monthly_charge / expected_bill)::float as charge_to_expected,
    (contract_month_to_month * monthly_charge / expected_bill)::float as unbound_charge_to_expected,
    (newcomer * monthly_charge)::float as newcomer_charge,
    (total_charges / (tenure_months + 1))::float as charges_per_month_of_tenure,

    -- how it is paid
    (payment_method = 'direct_debit')::float as payment_direct_debit,
    (payment_method = 'card')::float as payment_card,
    (payment_method = 'bank_transfer')::float as payment_bank_transfer,
    (payment_method = 'wallet')::float as payment_wallet,
    failed_payments_6m::float as failed_payments,
    days_late::float as days_late,
    (least(failed_payments_6m, 3) + least(days_late, 30) / 15.0)::float as payment_risk,

    -- how it is used
    minutes_month::float as minutes_month,
    data_gb_month::float as data_gb_month,
    usage_change::float as usage_change,
    greatest(-usage_change, 0)::float as usage_drop,

    -- what went wrong
    outages_90d::float as outages,
    support_calls_90d::float as support_calls,
    coalesce(resolution_hours, 0)::float as resolution_hours,
    (coalesce(resolution_hours, 0) > 48)::float as slow_resolution,
    (least(support_calls_90d, 5) * (1 + slow_resolution))::float as support_intensity,
    satisfaction::float as satisfaction,
    (satisfaction is null)::float as satisfaction_unanswered,
    (coalesce(satisfaction, 3) - 3)::float as satisfaction_answered
from {{ source('churn', 'validated') }}
