using System.Security.Cryptography;
using System.Text.Json;

namespace SorsaOrt.Data;

/// <summary>Where each row lies in a .jsonl file (a row per line) or a .json file (one array, or lines), found in one streaming pass.</summary>
internal sealed class RowIndex
{
    /// <summary>Longest row accepted. The worst, one single word, takes some 4 s and 1.3 GB to encode (15 MB took 15.6 s and 4.7 GB).</summary>
    public const int MaxRowBytes = 4 << 20;
    private const int ChunkBytes = 1 << 20;

    private readonly FileStream _stream;
    private readonly string _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private byte[] _buffer = new byte[ChunkBytes];
    private int _filled;
    private bool _ended;
    private long _bufferOffset;

    private RowIndex(FileStream stream, string file)
    {
        _stream = stream;
        _file = file;
    }

    public delegate void Found(ReadOnlySpan<byte> json, long offset, int line);

    /// <summary>Calls <paramref name="found"/> for each row in file order and gives the SHA-256 of the file.</summary>
    public static byte[] Scan(FileStream stream, string file, bool mayBeArray, Found found)
    {
        var index = new RowIndex(stream, file);
        using (index._hash)
        {
            index.Fill();
            int start = index.SkipByteOrderMark();
            byte first = index._buffer.AsSpan(start, index._filled - start).TrimStart(" \t\r\n"u8) is [var b, ..] ? b : (byte)0;
            if (mayBeArray && first == '[')
                index.ScanArray(start, found);
            else
                index.ScanLines(start, found);
            return index._hash.GetHashAndReset();
        }
    }

    private int SkipByteOrderMark()
    {
        var head = _buffer.AsSpan(0, _filled);
        if (head.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]) || head.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF]))
            throw new DataFormatException(_file, "the file is UTF-16", "Save it as UTF-8.");
        return head.StartsWith("\uFEFF"u8) ? 3 : 0;
    }

    /// <summary>Reads until the buffer is full or the file ends.</summary>
    private void Fill()
    {
        while (!_ended && _filled < _buffer.Length)
        {
            int read = _stream.Read(_buffer, _filled, _buffer.Length - _filled);
            _hash.AppendData(_buffer, _filled, read);
            _filled += read;
            _ended = read == 0;
        }
    }

    /// <summary>Drops the first <paramref name="consumed"/> bytes and fills up; a row that fills the whole buffer makes it larger.</summary>
    private void Advance(int consumed, int line)
    {
        if (consumed == 0 && _filled == _buffer.Length)
        {
            if (_buffer.Length >= MaxRowBytes)
                throw RowParser.Bad(_file, line, $"the row is longer than {MaxRowBytes} bytes");
            Array.Resize(ref _buffer, Math.Min(MaxRowBytes, _buffer.Length * 2));
        }
        _buffer.AsSpan(consumed, _filled - consumed).CopyTo(_buffer);
        _filled -= consumed;
        _bufferOffset += consumed;
        Fill();
    }

    private void ScanLines(int start, Found found)
    {
        int line = 1;
        while (true)
        {
            var rest = _buffer.AsSpan(start, _filled - start);
            int length = rest.IndexOf((byte)'\n');
            if (length < 0 && !_ended)
            {
                Advance(start, line);
                start = 0;
                continue;
            }
            var content = (length < 0 ? rest : rest[..length]).TrimEnd(" \t\r"u8);
            if (content.Length > 0)
                found(content, _bufferOffset + start, line);
            if (length < 0)
                return;
            start += length + 1;
            line++;
        }
    }

    /// <summary>Walks the array with a resumable reader and notes where each element begins and ends.</summary>
    private void ScanArray(int start, Found found)
    {
        var state = new JsonReaderState(new JsonReaderOptions { MaxDepth = RowParser.MaxDepth + 1 });
        int row = 1;
        long elementStart = -1;
        try
        {
            while (true)
            {
                var reader = new Utf8JsonReader(_buffer.AsSpan(start, _filled - start), _ended, state);
                while (reader.Read())
                {
                    if (reader.CurrentDepth == 1 && elementStart < 0 && reader.TokenType is not (JsonTokenType.StartArray or JsonTokenType.StartObject)
                        && !(reader.TokenType is JsonTokenType.EndArray or JsonTokenType.EndObject))
                        throw RowParser.Bad(_file, row, "the row is not an object with fields");
                    if (reader.CurrentDepth != 1)
                        continue;
                    long at = _bufferOffset + start;
                    if (reader.TokenType is JsonTokenType.StartArray or JsonTokenType.StartObject)
                    {
                        elementStart = at + reader.TokenStartIndex;
                    }
                    else if (reader.TokenType is JsonTokenType.EndArray or JsonTokenType.EndObject)
                    {
                        int from = checked((int)(elementStart - _bufferOffset));
                        int to = checked(start + (int)reader.BytesConsumed);
                        found(_buffer.AsSpan(from, to - from), elementStart, row++);
                        elementStart = -1;
                    }
                }
                state = reader.CurrentState;
                int consumed = start + (int)reader.BytesConsumed;
                if (_ended)
                    return;
                int keep = elementStart < 0 ? consumed : checked((int)(elementStart - _bufferOffset));
                Advance(keep, row);
                start = consumed - keep;
            }
        }
        catch (JsonException e)
        {
            throw new DataFormatException(_file, $"the JSON array is broken in row {row} ({DataFormatException.Printable(e.Message)})", "Correct the file; rows can only be skipped in .jsonl.", e);
        }
    }
}
