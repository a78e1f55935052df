# Report the result of a deployment.
{% set cfg = opts.ms_project %}
{{ cfg.name }}-notify:
  test.configurable_test_state:
    - changes: False
    - comment: {{ cfg.get('deploy_summary') or cfg.name }}
