using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>The processes that train one run together, each on its share of every step's micro-batches: one alone, or as many as <c>mpirun</c> started.</summary>
/// <remarks>
/// All ranks call the same methods in the same order. What may fail goes through <see cref="Together"/> or <see cref="Sum(int, Action{double[]})"/>: a failure of one rank ends
/// that call on all of them, so that none waits for another that has given up.
/// </remarks>
public sealed class Ranks : IDisposable
{
    private const string CountVariable = "OMPI_COMM_WORLD_SIZE";
    private const string RankVariable = "OMPI_COMM_WORLD_RANK";
    private const string LocalCountVariable = "OMPI_COMM_WORLD_LOCAL_SIZE";

    private readonly OpenMpi? _mpi;

    private Ranks(OpenMpi? mpi) => _mpi = mpi;

    /// <summary>One process; nothing is loaded.</summary>
    public static Ranks Alone { get; } = new(null);

    /// <summary>Whether mpirun started this process as another than the first: what all of them would say, the first says.</summary>
    public static bool IsStartedAsOther => Started(CountVariable, 1) > 1 && Started(RankVariable, 0) > 0;

    /// <summary>How many processes mpirun started; 1 without it.</summary>
    public static int StartedCount => Started(CountVariable, 1);

    /// <summary>This process's number, from 0.</summary>
    public int Rank => _mpi?.Rank ?? 0;

    /// <summary>Processes.</summary>
    public int Count => _mpi?.Count ?? 1;

    /// <summary>Whether this is the rank that writes.</summary>
    public bool IsFirst => Rank == 0;

    /// <summary>Processors for each rank of this machine, at least 1.</summary>
    public int ShareOfProcessors => _mpi is null ? Environment.ProcessorCount : Math.Max(1, Environment.ProcessorCount / Math.Max(1, Started(LocalCountVariable, 1)));

    /// <summary>Joins the processes that mpirun started, as its environment says; without it, <see cref="Alone"/>.</summary>
    /// <exception cref="ConfigException">There is no Open MPI.</exception>
    public static Ranks Join() => StartedCount > 1 ? new Ranks(OpenMpi.Initialize()) : Alone;

    /// <summary>Does <paramref name="work"/> on every rank. If it fails on any, every rank throws: the first of those its own exception, all others that one failed.</summary>
    /// <exception cref="OtherRankFailedException">It failed on another rank.</exception>
    public void Together(Action work) => Sum(0, _ => work());

    /// <summary>As <see cref="Together"/>, and gives the sums over all ranks of what <paramref name="work"/> puts into its array.</summary>
    /// <param name="count">Length of the array, which starts as zeros.</param>
    /// <param name="work">What each rank does.</param>
    public double[] Sum(int count, Action<double[]> work)
    {
        ArgumentNullException.ThrowIfNull(work);
        var sums = new double[count];
        if (_mpi is null)
        {
            work(sums);
            return sums;
        }
        ExceptionDispatchInfo? failure = null;
        try
        {
            work(sums);
        }
        catch (Exception e)
        {
            failure = ExceptionDispatchInfo.Capture(e);
        }
        double[] exchanged = [.. sums, .. new double[Count]];
        exchanged[count + Rank] = failure is null ? 0 : 1;
        _mpi.Sum(exchanged);
        var failed = exchanged.AsSpan(count).IndexOfAnyExcept(0.0);
        if (failed == Rank)
            failure!.Throw();
        return failed < 0 ? exchanged[..count] : throw new OtherRankFailedException($"Rank {failed} failed, and this one (rank {Rank}) with it.");
    }

    /// <summary>Replaces the values of every rank by their sum over all ranks.</summary>
    public unsafe void Sum(FlatBuffer<float> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (_mpi is not null && values.Length > 0)
            _mpi.Sum((float*)Address(values), values.Length);
    }

    /// <summary>Gives every rank the values of the first.</summary>
    public unsafe void TakeFirst(FlatBuffer<float> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (_mpi is not null && values.Length > 0)
            _mpi.Broadcast((byte*)Address(values), values.ByteLength);
    }

    /// <summary>Gives every rank the parameters and moments of the first.</summary>
    public void TakeFirst(TrainingState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        TakeFirst(state.Values);
        TakeFirst(state.FirstMoments);
        TakeFirst(state.SecondMoments);
    }

    /// <summary>Gives every rank the values of the first.</summary>
    public unsafe void TakeFirst(Span<long> values)
    {
        if (_mpi is null)
            return;
        fixed (long* start = values)
            _mpi.Broadcast((byte*)start, checked((long)values.Length * sizeof(long)));
    }

    /// <summary>The first rank's bytes, of any length; what the others give is left out of account.</summary>
    public unsafe byte[] TakeFirst(byte[] bytes)
    {
        ArgumentNullException.ThrowIfNull(bytes);
        if (_mpi is null)
            return bytes;
        Span<long> length = [bytes.Length];
        TakeFirst(length);
        var taken = IsFirst ? bytes : new byte[length[0]];
        fixed (byte* start = taken)
            _mpi.Broadcast(start, taken.Length);
        return taken;
    }

    /// <summary>Ends every rank at once; mpirun's exit code is <paramref name="exitCode"/>.</summary>
    public int Abort(int exitCode)
    {
        _mpi?.Abort(exitCode);
        return exitCode;
    }

    /// <summary>Leaves when every rank does, or has been ended by <see cref="Abort"/>.</summary>
    public void Dispose() => _mpi?.Leave();

    private static unsafe void* Address(FlatBuffer<float> values) => Unsafe.AsPointer(ref values[0]);

    private static int Started(string variable, int without) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : without;
}
