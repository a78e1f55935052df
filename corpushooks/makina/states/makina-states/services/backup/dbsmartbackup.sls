makina-states-dbsmartbackup:
  mc_proxy.missing:
    - what: "databases are not backed up: db_smart_backup is not supported here"
