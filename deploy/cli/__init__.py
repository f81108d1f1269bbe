"""The command line.

main.py        what a shell starts; an error becomes one line and an exit code
signals.py     Ctrl-C, SIGTERM and SIGHUP end a command in order
commands.py    init, join, status; the application
run.py         run, demo
metrics.py     metrics
backup.py      backup
operate.py     audit, end-of-feed, accept-loss, dead, check-receipt
rebuild.py     rebuild
exchange.py    export, import
drill.py       drill
backtest.py    backtest
compress.py    compress, advise, inspect
options.py     the options that several commands have
"""
