-- One row in, one row out: serving runs this very SELECT on a request.
select
    row_id,

    -- who
    age::float as age,
    (sex = 1)::float as male,
    (age < 45)::float as age_under_45,
    (age >= 45 and age < 55)::float as age_45_to_54,
    (age >= 55 and age < 65)::float as age_55_to_64,
    (age >= 65)::float as age_65_and_over,

    -- symptoms
    (cp = 0)::float as chest_pain_typical_angina,
    (cp = 1)::float as chest_pain_atypical_angina,
    (cp = 2)::float as chest_pain_non_anginal,
    (cp = 3)::float as chest_pain_asymptomatic,
    exang::float as exercise_angina,

    -- at rest
    trestbps::float as resting_blood_pressure,
    chol::float as cholesterol,
    (chol is null)::float as cholesterol_unrecorded,
    fbs::float as fasting_blood_sugar_high,
    (coalesce(restecg, 0) = 1)::float as ecg_st_t_abnormality,
    (coalesce(restecg, 0) = 2)::float as ecg_ventricular_hypertrophy,

    -- under load
    thalach::float as maximum_heart_rate,
    (thalach / (220.0 - age))::float as share_of_predicted_heart_rate,
    (trestbps * thalach / 1000.0)::float as rate_pressure_product,
    oldpeak::float as st_depression,
    (coalesce(slope, -1) = 1)::float as st_slope_flat,
    (coalesce(slope, -1) = 2)::float as st_slope_down,

    -- imaging, often not done
    ca::float as major_vessels,
    (ca is null)::float as major_vessels_unrecorded,
    (coalesce(thal, -1) = 1)::float as thallium_fixed_defect,
    (coalesce(thal, -1) = 2)::float as thallium_reversible_defect,
    (thal is null)::float as thallium_unrecorded
from {{ source('heart_disease', 'validated') }}
