<?php echo "php " . (6 * 7) . "\n";
