# The last step inside bubblewrap: join the cgroups, set the rlimits, enter Landlock, start the
# program. Perl without modules starts in 2 ms, where Python takes 15, and needs no compiler.
#
# Arguments: descriptors of the record that nebula/sandbox/launch.py writes, of the pipe to report
# on, and of cgroup.procs files. The program inherits none of them ($^F closes all above 2).
use strict;

my ($record, $report, @groups) = @ARGV;
open(my $told, '>&=', $report) or exit 125;

sub fail {
    syswrite $told, "failed\0$_[0]\0$!";
    exit 125;
}

open(my $source, '<&=', $record) or fail('record');
my ($prlimit64, $attributes, @fields) = do { local $/; split /\0/, scalar(readline $source), -1 };
pop @fields;    # what follows the last separator
close $source;

for my $group (@groups) {
    open(my $procs, '>&=', $group) or fail('cgroup');
    defined(syswrite $procs, '0') or fail('cgroup');
    close $procs or fail('cgroup');
}

$attributes = pack 'H*', $attributes;
my $ruleset = syscall 444, $attributes, length $attributes, 0;
fail('landlock_create_ruleset') if $ruleset < 0;

my (@arguments, %environment);
while (@fields) {
    my $kind = shift @fields;
    if ($kind eq 'limit') {
        my ($resource, $most) = splice @fields, 0, 2;
        my $pair = pack 'QQ', $most, $most;
        fail("limit $resource") if syscall(0 + $prlimit64, 0, 0 + $resource, $pair, 0) != 0;
    } elsif ($kind eq 'allow') {
        my ($path, $on_folder, $on_file) = splice @fields, 0, 3;
        sysopen(my $place, $path, 012000000) or fail($path);    # O_PATH | O_CLOEXEC
        my $rule = pack 'Ql', -d $path ? $on_folder : $on_file, fileno $place;
        fail("landlock $path") if syscall(445, $ruleset, 1, $rule, 0) != 0;
        close $place;
    } elsif ($kind eq 'variable') {
        my ($name, $value) = splice @fields, 0, 2;
        $environment{$name} = $value;
    } else {
        push @arguments, shift @fields;
    }
}
fail('landlock_restrict_self') if syscall(446, $ruleset, 0) != 0;

%ENV = %environment;
syswrite $told, "ready\0";
exec { $arguments[0] } @arguments;
fail('exec');
