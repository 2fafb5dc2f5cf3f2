# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_genesys_gateway_global_optspecs
    string join \n config= h/help V/version
end

function __fish_genesys_gateway_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_genesys_gateway_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_genesys_gateway_using_subcommand
    set -l cmd (__fish_genesys_gateway_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -s V -l version -d 'Print version'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "run" -d 'Run the gateway in the foreground; this is what the service does'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "check" -d 'Check the configuration and every file it names'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "status" -d 'Say how the gateway is: the verdict, the reasons, the numbers'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "records" -d 'List, show and move records'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "listen" -d 'Print notifications of any topics as they come, a line of JSON each, until it is stopped'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "demo" -d 'Run everything on this machine against a simulated platform, within a minute'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "simulate" -d 'Run the platform simulator alone'
complete -c genesys-gateway -n "__fish_genesys_gateway_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand run" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand check" -l online -d 'Also log on to the platform, open a channel and say which permission is missing'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand check" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand status" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand status" -l json -d 'Print the snapshot as JSON'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand status" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "list" -d 'List records'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "show" -d 'Show one record'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "shape" -d 'Show how many records are in which state, and since when'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "retry" -d 'Try again now: records that are deferred, dead or held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "hold" -d 'Keep back: records that are queued or deferred'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "release" -d 'Let go: records that are held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "discard" -d 'Give up for good: records that are queued, deferred, dead or held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and not __fish_seen_subcommand_from list show shape retry hold release discard help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from list" -l state -d 'Only those in this state' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from list" -l limit -d 'At most this many' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from shape" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from shape" -l json -d 'Print JSON'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from shape" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from retry" -l state -d 'All records in this state instead; asks first' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from retry" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from retry" -l yes -d 'Do not ask'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from hold" -l state -d 'All records in this state instead; asks first' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from hold" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from hold" -l yes -d 'Do not ask'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from hold" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from release" -l state -d 'All records in this state instead; asks first' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from release" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from release" -l yes -d 'Do not ask'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from release" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from discard" -l state -d 'All records in this state instead; asks first' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from discard" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from discard" -l yes -d 'Do not ask'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from discard" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "list" -d 'List records'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one record'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "shape" -d 'Show how many records are in which state, and since when'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "retry" -d 'Try again now: records that are deferred, dead or held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "hold" -d 'Keep back: records that are queued or deferred'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "release" -d 'Let go: records that are held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "discard" -d 'Give up for good: records that are queued, deferred, dead or held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand records; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand listen" -l topic -d 'A topic, as the platform names it; may be repeated' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand listen" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand listen" -l all -d 'Also print heartbeats, gaps, and what is subscribed or refused'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand listen" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand demo" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand demo" -l desktop -d 'Keep running, with a simulated desktop that embeds the page; prints the address to open'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand demo" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand simulate" -l port -d 'Port of the platform\'s API on 127.0.0.1; 0 takes a free one' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand simulate" -l control-port -d 'Port of the control interface on 127.0.0.1; 0 takes a free one' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand simulate" -l set -d 'Change a behaviour of the simulated platform; may be repeated' -r
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand simulate" -l config -d 'The configuration file' -r -F
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand simulate" -s h -l help -d 'Print help'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "run" -d 'Run the gateway in the foreground; this is what the service does'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "check" -d 'Check the configuration and every file it names'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "status" -d 'Say how the gateway is: the verdict, the reasons, the numbers'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "records" -d 'List, show and move records'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "listen" -d 'Print notifications of any topics as they come, a line of JSON each, until it is stopped'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "demo" -d 'Run everything on this machine against a simulated platform, within a minute'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "simulate" -d 'Run the platform simulator alone'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and not __fish_seen_subcommand_from run check status records listen demo simulate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "list" -d 'List records'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "show" -d 'Show one record'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "shape" -d 'Show how many records are in which state, and since when'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "retry" -d 'Try again now: records that are deferred, dead or held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "hold" -d 'Keep back: records that are queued or deferred'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "release" -d 'Let go: records that are held'
complete -c genesys-gateway -n "__fish_genesys_gateway_using_subcommand help; and __fish_seen_subcommand_from records" -f -a "discard" -d 'Give up for good: records that are queued, deferred, dead or held'
