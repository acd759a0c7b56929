"""Small bots, one idea each, to copy from. All are real bots: `SFVOPI_BOT=worker.bots.examples.dtmf_menu:bot`."""
