#!/bin/sh
{% set cfg = salt['mc_project.get_configuration'](project) -%}
exec {{cfg.data.py}} {{cfg.data.app_root}}/app.py "$@"
