# Joins programs inside to the one stream that leads outside (nebula/sandbox/reach.py).
#
# `reach.pl proxy PROGRAM …` runs the program, and a SOCKS5 proxy for it on 127.0.0.1:1080 that
# leads there whatever is asked for. With any other arguments it joins its own input and output,
# as `ssh` does for git. What may be reached is decided outside; nothing here has to be trusted.
use Socket;

sub outside {
    socket(my $stream, AF_UNIX, SOCK_STREAM, 0) or exit 1;
    connect($stream, pack_sockaddr_un('/run/reach/out')) or exit 1;
    return $stream;
}

sub copy {
    my ($from, $to) = @_;
    while (sysread $from, my $piece, 65536) {
        while (length $piece) {
            my $written = syswrite $to, $piece;
            return if !defined $written;
            substr $piece, 0, $written, '';
        }
    }
}

sub joined {
    my ($from, $to) = @_;
    my $stream = outside();
    my $sender = fork;
    if (!$sender) {
        copy($from, $stream);
        shutdown $stream, 1;
        exit 0;
    }
    copy($stream, $to);
    kill 'KILL', $sender;
    exit 0;
}

sub taken {
    my ($from, $length) = @_;
    my $got = '';
    while (length $got < $length) {
        sysread($from, $got, $length - length $got, length $got) or exit 1;
    }
    return $got;
}

# RFC 1928: methods, then one CONNECT whose address nobody looks at.
sub greeted {
    my ($client) = @_;
    taken($client, unpack 'xC', taken($client, 2));
    syswrite $client, "\5\0";
    my $kind = unpack 'x3C', taken($client, 4);
    taken($client, $kind == 1 ? 4 : $kind == 4 ? 16 : unpack 'C', taken($client, 1));
    taken($client, 2);
    syswrite $client, "\5\0\0\1" . "\0" x 6;
}

$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
joined(\*STDIN, \*STDOUT) if ($ARGV[0] // '') ne 'proxy';

socket(my $door, AF_INET, SOCK_STREAM, 0) or exit 1;
bind($door, pack_sockaddr_in(1080, INADDR_LOOPBACK)) or exit 1;
listen($door, 8) or exit 1;
if (fork) {
    close $door;
    @SIG{qw(CHLD PIPE)} = ('DEFAULT') x 2;
    exec { $ARGV[1] } @ARGV[1 .. $#ARGV] or exit 127;
}
while (accept my $client, $door) {
    next if fork;
    close $door;
    greeted($client);
    joined($client, $client);
}
