<?php echo "cron\n";
