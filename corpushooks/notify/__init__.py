"""Notifications.

announce     what is sent, for each event
send         sends it with apprise, in a separate process that nothing waits for
"""
