# The last step inside bubblewrap: join the cgroups, set the rlimits, enter Landlock, start the
# program. Perl without modules starts in 2 ms, where Python takes 15, and needs no compiler.
#
# Arguments: descriptors of the record that nebula/sandbox/launch.py writes, of the pipe to report
# on, who started this (for `sweep` in running.py), and of the cgroups' doors. The program inherits none of them ($^F closes all above 2).
# A test compiles this with `strict` and `warnings`, which would cost every start half a millisecond.

my ($record, $report, undef, @groups) = @ARGV;
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
# bubblewrap's first process sets up to die with its parent, then its own filter, while this runs
# already. Started before that, the program would outlive them.
until (do { local $/; open(my $first, '<', '/proc/1/status') or fail('first'); readline($first) =~ /^Seccomp:\t2/m }) {
    select undef, undef, undef, 0.0005;
}
# Nobody listens any more: who would end the program is gone.
defined(syswrite $told, "ready\0") or exit 125;
{ exec { $arguments[0] } @arguments; }    # returns only when it failed
fail('exec');
